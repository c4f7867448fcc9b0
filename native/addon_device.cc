#include "addon_device.h"

#include <cerrno>
#include <string>
#include <utility>

#include "addon_error.h"

namespace remap {

namespace {

using DevicePtr = std::shared_ptr<Device>;

// Marks our objects, so that device_of can tell them from all others.
constexpr napi_type_tag kDeviceTag = {0x6f1c0f5d4b7a4c1e, 0x9a3e2d87c5b04f66};

constexpr struct {
  FaultKind kind;
  const char* name;
} kFaultKinds[] = {{FaultKind::kReadError, "read-error"},
                   {FaultKind::kWriteError, "write-error"},
                   {FaultKind::kSlow, "slow"}};

FaultKind fault_kind(const std::string& name) {
  for (const auto& known : kFaultKinds)
    if (known.name == name) return known.kind;
  return FaultKind::kSlow;
}

const char* fault_name(FaultKind kind) {
  for (const auto& known : kFaultKinds)
    if (known.kind == kind) return known.name;
  return "";
}

uint64_t number(const Napi::Value& value) {
  return static_cast<uint64_t>(value.As<Napi::Number>().Int64Value());
}

Napi::Number number(Napi::Env env, uint64_t value) {
  return Napi::Number::New(env, static_cast<double>(value));
}

enum class Call { kRead, kWrite, kFlush };

constexpr const char* name_of(Call call) {
  return call == Call::kRead ? "read" : call == Call::kWrite ? "write" : "flush";
}

// One blocking call on the thread pool. Keeps device and buffer alive until the promise is settled.
class DeviceCall final : public Napi::AsyncWorker {
 public:
  DeviceCall(Napi::Env env, DevicePtr device, Call call)
      : AsyncWorker(env, "remap:device"),
        device_(std::move(device)),
        call_(call),
        promise_(Napi::Promise::Deferred::New(env)) {}

  void use(Napi::Uint8Array buffer, uint64_t offset) {
    buffer_ = Napi::Persistent(buffer.As<Napi::Object>());
    data_ = buffer.Data();
    length_ = buffer.ByteLength();
    offset_ = offset;
  }
  Napi::Promise promise() const { return promise_.Promise(); }

 protected:
  void Execute() override {
    switch (call_) {
      case Call::kRead:
        error_ = device_->read(data_, length_, offset_);
        break;
      case Call::kWrite:
        error_ = device_->write(data_, length_, offset_);
        break;
      case Call::kFlush:
        error_ = device_->flush();
        break;
    }
  }

  void OnOK() override {
    if (error_ == 0) {
      promise_.Resolve(Env().Undefined());
    } else {
      promise_.Reject(errno_error(Env(), error_, name_of(call_)).Value());
    }
  }

 private:
  const DevicePtr device_;
  const Call call_;
  const Napi::Promise::Deferred promise_;
  Napi::ObjectReference buffer_;
  void* data_ = nullptr;
  size_t length_ = 0;
  uint64_t offset_ = 0;
  int error_ = 0;
};

class AddonDevice final : public Napi::ObjectWrap<AddonDevice> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "NativeDevice",
                       {
                           InstanceMethod<&AddonDevice::transfer<Call::kRead>>("read"),
                           InstanceMethod<&AddonDevice::transfer<Call::kWrite>>("write"),
                           InstanceMethod<&AddonDevice::transfer<Call::kFlush>>("flush"),
                           InstanceMethod<&AddonDevice::acquire>("acquire"),
                           InstanceMethod<&AddonDevice::release>("release"),
                           InstanceMethod<&AddonDevice::remeasure>("remeasure"),
                           InstanceMethod<&AddonDevice::close>("close"),
                           InstanceMethod<&AddonDevice::add_fault>("addFault"),
                           InstanceMethod<&AddonDevice::list_faults>("listFaults"),
                           InstanceMethod<&AddonDevice::clear_faults>("clearFaults"),
                       });
  }

  explicit AddonDevice(const Napi::CallbackInfo& info);

  const DevicePtr& device() const { return device_; }

 private:
  template <Call call>
  Napi::Value transfer(const Napi::CallbackInfo& info);
  Napi::Value acquire(const Napi::CallbackInfo& info);
  Napi::Value release(const Napi::CallbackInfo& info);
  Napi::Value remeasure(const Napi::CallbackInfo& info);
  Napi::Value close(const Napi::CallbackInfo& info);
  Napi::Value add_fault(const Napi::CallbackInfo& info);
  Napi::Value list_faults(const Napi::CallbackInfo& info);
  Napi::Value clear_faults(const Napi::CallbackInfo& info);

  // False, with an exception on its way, after close().
  bool usable(Napi::Env env, const char* step) const {
    if (device_ == nullptr) errno_error(env, EBADF, step).ThrowAsJavaScriptException();
    return device_ != nullptr;
  }

  DevicePtr device_;
};

AddonDevice::AddonDevice(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsExternal()) {
    Napi::TypeError::New(env, "use openDevice").ThrowAsJavaScriptException();
    return;
  }
  device_ = *info[0].As<Napi::External<DevicePtr>>().Data();
  Napi::Object self = info.This().As<Napi::Object>();
  self.TypeTag(&kDeviceTag);
  // Nothing of this ever changes (sizeBytes is that of the opening), and it can still be read after
  // close().
  const auto define = [&self](const char* name, Napi::Value value) {
    self.DefineProperty(Napi::PropertyDescriptor::Value(name, value, napi_enumerable));
  };
  define("path", Napi::String::New(env, device_->path()));
  define("sizeBytes", number(env, device_->size_bytes()));
  define("logicalBlockSize", number(env, device_->logical_block_size()));
  define("offsetAlign", number(env, device_->offset_align()));
  define("isBlockDevice", Napi::Boolean::New(env, device_->is_block_device()));
  define("isNull", Napi::Boolean::New(env, device_->is_null()));
  define("direct", Napi::Boolean::New(env, device_->direct()));
  define("readOnly", Napi::Boolean::New(env, device_->read_only()));
}

Napi::Value AddonDevice::acquire(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!usable(env, "acquire")) return env.Undefined();
  if (const OpenError failure = device_->acquire(); failure.error != 0)
    errno_error(env, failure.error, failure.step).ThrowAsJavaScriptException();
  return env.Undefined();
}

Napi::Value AddonDevice::release(const Napi::CallbackInfo& info) {
  if (device_ != nullptr) device_->release();
  return info.Env().Undefined();
}

Napi::Value AddonDevice::remeasure(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!usable(env, "remeasure")) return env.Undefined();
  uint64_t size = 0;
  if (const int error = device_->remeasure(&size); error != 0)
    errno_error(env, error, "size").ThrowAsJavaScriptException();
  return number(env, size);
}

template <Call call>
Napi::Value AddonDevice::transfer(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (device_ == nullptr) {
    const auto closed = Napi::Promise::Deferred::New(env);
    closed.Reject(errno_error(env, EBADF, name_of(call)).Value());
    return closed.Promise();
  }
  auto* const worker = new DeviceCall(env, device_, call);  // deletes itself
  if constexpr (call != Call::kFlush) worker->use(info[0].As<Napi::Uint8Array>(), number(info[1]));
  const Napi::Promise promise = worker->promise();
  worker->Queue();
  return promise;
}

Napi::Value AddonDevice::close(const Napi::CallbackInfo& info) {
  device_.reset();
  return info.Env().Undefined();
}

Napi::Value AddonDevice::add_fault(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!usable(env, "addFault")) return env.Undefined();
  const auto rule = info[0].As<Napi::Object>();
  const uint64_t id = device_->faults().add(
      fault_kind(rule.Get("kind").As<Napi::String>().Utf8Value()), number(rule.Get("lba")),
      number(rule.Get("count")), number(rule.Get("times")),
      static_cast<uint32_t>(number(rule.Get("delayMs"))),
      {.error = static_cast<int>(number(rule.Get("errno"))),
       .per_million = static_cast<uint32_t>(number(rule.Get("perMillion")))});
  return number(env, id);
}

Napi::Value AddonDevice::list_faults(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!usable(env, "listFaults")) return env.Undefined();
  const std::vector<FaultRule> rules = device_->faults().list();
  Napi::Array list = Napi::Array::New(env, rules.size());
  for (uint32_t i = 0; i < rules.size(); ++i) {
    const FaultRule& rule = rules[i];
    Napi::Object item = Napi::Object::New(env);
    item.Set("id", number(env, rule.id));
    item.Set("kind", fault_name(rule.kind));
    item.Set("lba", number(env, rule.lba));
    item.Set("count", number(env, rule.count));
    item.Set("times", number(env, rule.times));
    item.Set("delayMs", number(env, rule.delay_ms));
    item.Set("errno", number(env, static_cast<uint64_t>(rule.error)));
    item.Set("perMillion", number(env, rule.per_million));
    item.Set("hits", number(env, rule.hits));
    list.Set(i, item);
  }
  return list;
}

Napi::Value AddonDevice::clear_faults(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!usable(env, "clearFaults")) return env.Undefined();
  const uint64_t id = info[0].IsNumber() ? number(info[0]) : 0;
  return number(env, device_->faults().clear(id));
}

Napi::Value open_device(const Napi::CallbackInfo& info,
                        const Napi::FunctionReference& constructor) {
  const Napi::Env env = info.Env();
  const auto wanted = info[1].As<Napi::Object>();
  const OpenOptions options{.read_only = wanted.Get("readOnly").ToBoolean(),
                            .exclusive = wanted.Get("exclusive").ToBoolean()};
  OpenError error;
  DevicePtr device = Device::open(info[0].As<Napi::String>().Utf8Value(), options, &error);
  if (device == nullptr) {
    errno_error(env, error.error, error.step).ThrowAsJavaScriptException();
    return env.Undefined();
  }
  return constructor.New({Napi::External<DevicePtr>::New(env, &device)});
}

}  // namespace

void register_device(Napi::Env env, Napi::Object exports) {
  auto* const constructor = new Napi::FunctionReference(Napi::Persistent(AddonDevice::define(env)));
  env.AddCleanupHook([constructor] { delete constructor; });
  const auto open = [constructor](const Napi::CallbackInfo& info) {
    return open_device(info, *constructor);
  };
  exports.Set("openDevice", Napi::Function::New(env, open, "openDevice"));
}

std::shared_ptr<Device> device_of(Napi::Value value) {
  if (!value.IsObject()) return nullptr;
  const auto object = value.As<Napi::Object>();
  if (!object.CheckTypeTag(&kDeviceTag)) return nullptr;
  return AddonDevice::Unwrap(object)->device();
}

}  // namespace remap
