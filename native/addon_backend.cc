#include "addon_backend.h"

#include <cerrno>
#include <cstring>
#include <memory>
#include <new>
#include <string>

#include "addon_device.h"
#include "addon_error.h"
#include "backend.h"
#include "event_bridge.h"

namespace remap {
namespace {

using Counters = std::shared_ptr<abi::QueueCounters[]>;

void throw_errno(Napi::Env env, int error, const char* step) {
  errno_error(env, error, step).ThrowAsJavaScriptException();
}

uint32_t number(const Napi::Object& options, const char* name) {
  return options.Get(name).As<Napi::Number>().Uint32Value();
}

// A cache line pair a queue, so that no two queues share one.
Counters make_counters(uint16_t queues) {
  constexpr std::align_val_t kAlign{128};
  const size_t size = queues * sizeof(abi::QueueCounters);
  auto* counters = static_cast<abi::QueueCounters*>(operator new[](size, kAlign));
  memset(counters, 0, size);
  return {counters, [](abi::QueueCounters* p) { operator delete[](p, kAlign); }};
}

std::unique_ptr<VolumeContext> make_context(const Napi::Object& options, EventSink& events,
                                            const Counters& counters) {
  const auto capacity = options.Get("capacitySectors").As<Napi::Number>().Int64Value();
  const bool shared_storage = options.Get("sharedStorage").As<Napi::Boolean>();
  auto context =
      std::make_unique<VolumeContext>(static_cast<uint64_t>(capacity), &events, shared_storage);
  context->logical_block_size = number(options, "logicalBlockSize");
  context->num_queues = static_cast<uint16_t>(number(options, "numQueues"));
  context->read_only = options.Get("readOnly").As<Napi::Boolean>();
  context->serial = options.Get("serial").As<Napi::String>().Utf8Value();
  context->counters = counters.get();
  const auto devices = options.Get("devices").As<Napi::Array>();
  for (uint32_t i = 0; i < devices.Length(); ++i)
    context->devices.push_back(device_of(devices.Get(i)));
  return context;
}

// What one JavaScript object holds. Torn down by destroy() alone: without it threads may be at
// work, and an object that is merely collected, or an environment that ends, cannot wait for them.
struct Held {
  Counters counters;
  std::unique_ptr<EventBridge> events;  // outlives the threads that push
  std::unique_ptr<Backend> backend;
};

class AddonBackend final : public Napi::ObjectWrap<AddonBackend> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "NativeBackend",
                       {
                           InstanceMethod<&AddonBackend::listen>("listen"),
                           InstanceMethod<&AddonBackend::stop>("stop"),
                           InstanceMethod<&AddonBackend::submit>("submit"),
                           InstanceMethod<&AddonBackend::publish>("publish"),
                           InstanceMethod<&AddonBackend::set_capacity>("setCapacity"),
                           InstanceMethod<&AddonBackend::answer_claim>("answerClaim"),
                           InstanceMethod<&AddonBackend::drain>("drain"),
                           InstanceMethod<&AddonBackend::index_extents>("indexExtents"),
                           InstanceMethod<&AddonBackend::index_bytes>("indexBytes"),
                           InstanceMethod<&AddonBackend::destroy>("destroy"),
                           InstanceAccessor<&AddonBackend::engine>("engine"),
                           InstanceAccessor<&AddonBackend::workers>("workers"),
                           InstanceAccessor<&AddonBackend::flush_failed>("flushFailed"),
                           InstanceAccessor<&AddonBackend::write_through>("writeThrough"),
                       });
  }

  explicit AddonBackend(const Napi::CallbackInfo& info);
  ~AddonBackend() override { held_.release(); }

 private:
  // False, with an exception on its way, after destroy().
  bool usable(Napi::Env env) const {
    if (held_ == nullptr) throw_errno(env, EBADF, "destroy");
    return held_ != nullptr;
  }
  Napi::Value expose_counters(Napi::Env env) const;

  Napi::Value listen(const Napi::CallbackInfo& info);
  Napi::Value stop(const Napi::CallbackInfo& info);
  Napi::Value submit(const Napi::CallbackInfo& info);
  Napi::Value publish(const Napi::CallbackInfo& info);
  Napi::Value set_capacity(const Napi::CallbackInfo& info);
  Napi::Value answer_claim(const Napi::CallbackInfo& info);
  Napi::Value drain(const Napi::CallbackInfo& info);
  Napi::Value index_extents(const Napi::CallbackInfo& info);
  Napi::Value index_bytes(const Napi::CallbackInfo& info);
  Napi::Value destroy(const Napi::CallbackInfo& info);
  Napi::Value engine(const Napi::CallbackInfo& info);
  Napi::Value workers(const Napi::CallbackInfo& info);
  Napi::Value flush_failed(const Napi::CallbackInfo& info);
  Napi::Value write_through(const Napi::CallbackInfo& info);

  std::unique_ptr<Held> held_;
  std::string socket_path_;
  std::string connect_path_;
  int fd_ = -1;
};

AddonBackend::AddonBackend(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  const Napi::Env env = info.Env();
  const auto options = info[0].As<Napi::Object>();
  if (options.Get("socketPath").IsString())
    socket_path_ = options.Get("socketPath").As<Napi::String>().Utf8Value();
  if (options.Get("connectPath").IsString())
    connect_path_ = options.Get("connectPath").As<Napi::String>().Utf8Value();
  if (options.Get("fd").IsNumber()) fd_ = options.Get("fd").As<Napi::Number>().Int32Value();

  auto held = std::make_unique<Held>();
  held->counters = make_counters(static_cast<uint16_t>(number(options, "numQueues")));
  held->events = std::make_unique<EventBridge>(env, options.Get("onEvents").As<Napi::Function>());
  held->backend = std::make_unique<Backend>(make_context(options, *held->events, held->counters),
                                            static_cast<uint16_t>(number(options, "workers")));
  for (const auto& device : held->backend->context().devices) {
    if (device != nullptr) continue;
    throw_errno(env, EBADF, "devices");
    return;
  }
  const char* step = "";
  if (const int error = held->backend->start(&step); error != 0) {
    throw_errno(env, error, step);
    return;
  }
  held_ = std::move(held);
  info.This().As<Napi::Object>().DefineProperty(
      Napi::PropertyDescriptor::Value("counters", expose_counters(env), napi_enumerable));
}

Napi::Value AddonBackend::expose_counters(Napi::Env env) const {
  // The array buffer keeps the memory alive, so that it can be read after destroy().
  const size_t size = held_->backend->context().num_queues * sizeof(abi::QueueCounters);
  return Napi::ArrayBuffer::New(
      env, held_->counters.get(), size, [](Napi::Env, void*, Counters* keep) { delete keep; },
      new Counters(held_->counters));
}

Napi::Value AddonBackend::listen(const Napi::CallbackInfo& info) {
  if (!usable(info.Env())) return info.Env().Undefined();
  const char* step = "";
  Backend& backend = *held_->backend;
  const int error = fd_ >= 0                ? backend.adopt(fd_, &step)
                    : connect_path_.empty() ? backend.listen(socket_path_, &step)
                                            : backend.connect(connect_path_, &step);
  if (error != 0) throw_errno(info.Env(), error, step);
  return info.Env().Undefined();
}

Napi::Value AddonBackend::stop(const Napi::CallbackInfo& info) {
  if (usable(info.Env())) held_->backend->stop();
  return info.Env().Undefined();
}

Napi::Value AddonBackend::submit(const Napi::CallbackInfo& info) {
  if (!usable(info.Env())) return info.Env().Undefined();
  const auto records = info[0].As<Napi::Uint8Array>();
  held_->backend->submit(reinterpret_cast<const abi::CommandRecord*>(records.Data()),
                         records.ByteLength() / sizeof(abi::CommandRecord));
  return info.Env().Undefined();
}

Napi::Value AddonBackend::publish(const Napi::CallbackInfo& info) {
  if (!usable(info.Env())) return info.Env().Undefined();
  const auto records = info[0].As<Napi::Uint8Array>();
  if (!held_->backend->publish(reinterpret_cast<const abi::IndexRecord*>(records.Data()),
                               records.ByteLength() / sizeof(abi::IndexRecord)))
    throw_errno(info.Env(), ERANGE, "publish");
  return info.Env().Undefined();
}

Napi::Value AddonBackend::set_capacity(const Napi::CallbackInfo& info) {
  if (!usable(info.Env())) return info.Env().Undefined();
  const auto sectors = static_cast<uint64_t>(info[0].As<Napi::Number>().Int64Value());
  if (!held_->backend->set_capacity(sectors)) throw_errno(info.Env(), ERANGE, "setCapacity");
  return info.Env().Undefined();
}

Napi::Value AddonBackend::answer_claim(const Napi::CallbackInfo& info) {
  if (!usable(info.Env())) return info.Env().Undefined();
  bool lossless = false;
  const uint64_t claim = info[0].As<Napi::BigInt>().Uint64Value(&lossless);
  held_->backend->answer_claim(claim, info[1].As<Napi::Boolean>());
  return info.Env().Undefined();
}

Napi::Value AddonBackend::drain(const Napi::CallbackInfo& info) {
  if (!usable(info.Env())) return info.Env().Undefined();
  auto into = info[0].As<Napi::Uint8Array>();
  const size_t count = held_->events->drain(reinterpret_cast<abi::EventRecord*>(into.Data()),
                                            into.ByteLength() / sizeof(abi::EventRecord));
  return Napi::Number::New(info.Env(), static_cast<double>(count));
}

Napi::Value AddonBackend::index_extents(const Napi::CallbackInfo& info) {
  if (!usable(info.Env())) return info.Env().Undefined();
  const uint64_t extents = held_->backend->context().index.extents();
  return Napi::Number::New(info.Env(), static_cast<double>(extents));
}

Napi::Value AddonBackend::index_bytes(const Napi::CallbackInfo& info) {
  if (!usable(info.Env())) return info.Env().Undefined();
  const uint64_t bytes = held_->backend->context().index.memory_bytes();
  return Napi::Number::New(info.Env(), static_cast<double>(bytes));
}

Napi::Value AddonBackend::destroy(const Napi::CallbackInfo& info) {
  held_.reset();
  return info.Env().Undefined();
}

Napi::Value AddonBackend::engine(const Napi::CallbackInfo& info) {
  if (!usable(info.Env())) return info.Env().Undefined();
  return Napi::String::New(info.Env(), held_->backend->engine());
}

Napi::Value AddonBackend::workers(const Napi::CallbackInfo& info) {
  if (!usable(info.Env())) return info.Env().Undefined();
  return Napi::Number::New(info.Env(), held_->backend->workers());
}

Napi::Value AddonBackend::flush_failed(const Napi::CallbackInfo& info) {
  if (!usable(info.Env())) return info.Env().Undefined();
  return Napi::Boolean::New(info.Env(), held_->backend->flush_failed());
}

Napi::Value AddonBackend::write_through(const Napi::CallbackInfo& info) {
  if (!usable(info.Env())) return info.Env().Undefined();
  return Napi::Boolean::New(info.Env(), held_->backend->context().write_through);
}

}  // namespace

void register_backend(Napi::Env env, Napi::Object exports) {
  auto* constructor = new Napi::FunctionReference(Napi::Persistent(AddonBackend::define(env)));
  env.AddCleanupHook([constructor] { delete constructor; });
  exports.Set("createBackend", Napi::Function::New(
                                   env,
                                   [constructor](const Napi::CallbackInfo& info) -> Napi::Value {
                                     return constructor->New({info[0]});
                                   },
                                   "createBackend"));
}

}  // namespace remap
