// Malformed input without end: what the process holds stays the same, and its log stays short.
// REMAP_MALFORMED is how much of it, 100,000 for the figures in docs/testing.md.
#include <doctest/doctest.h>
#include <malloc.h>

#include <chrono>
#include <random>

#include "malformed_chains.h"
#include "malformed_messages.h"
#include "siege.h"

namespace remap::test {
namespace {

using Clock = std::chrono::steady_clock;

size_t wanted_count() {
  const char* told = getenv("REMAP_MALFORMED");
  return told == nullptr ? 3000 : std::stoul(told);
}

// Chains, sixteen to a connection; one that stops the queue is the last of them. Returns how many.
size_t bad_chains(const Siege& siege, std::mt19937& random) {
  ChainDriver f(siege.target.connect());
  const auto& chains = malformed_chains();
  for (size_t i = 1; i <= 16; ++i) {
    const MalformedChain& chain = chains[random() % chains.size()];
    Template::direct(f);
    chain.spoil(f);
    if (chain.fate == Fate::kStopped) {
      f.notify();
      return i;
    }
    REQUIRE(f.run_head(0) >= 0);
  }
  return 16;
}

// One message after the handshake, with another size, other descriptors, cut, or all three.
size_t bad_message(const Siege& siege, const Props& props, std::mt19937& random) {
  FrontEnd f(siege.target.connect());
  REQUIRE(f.negotiate());
  const auto messages = sound_messages(props);
  SoundMessage m = messages[random() % messages.size()];
  if (random() % 2 == 0) m.payload.resize(random() % 300);
  if (random() % 2 == 0) m.fds.assign(random() % 17, props.owner.kick);
  Bytes raw = bytes_of(m.request);
  for (const uint32_t word : {1u, static_cast<uint32_t>(m.payload.size())}) {
    const Bytes more = bytes_of(word);
    raw.insert(raw.end(), more.begin(), more.end());
  }
  raw.insert(raw.end(), m.payload.begin(), m.payload.end());
  if (random() % 2 == 0) raw.resize(1 + random() % raw.size());
  f.send_raw(raw, m.fds);
  return 1;
}

// Two sound messages in an order that is none, on a running queue.
size_t bad_order(const Siege& siege, const Props& props, std::mt19937& random) {
  FrontEnd f(siege.target.connect());
  REQUIRE(f.negotiate());
  REQUIRE(f.share_memory() == 0u);
  REQUIRE(f.start_queue());
  const auto messages = sound_messages(props);
  if (exchange(f, messages[random() % messages.size()], true))
    exchange(f, messages[random() % messages.size()], true);
  return 1;
}

// Returns how many lines were logged.
size_t attack(Siege& siege, const Props& props, std::mt19937& random, size_t count) {
  size_t lines = 0;
  for (size_t done = 0; done < count;) {
    switch (random() % 3) {
      case 0:
        done += bad_chains(siege, random);
        break;
      case 1:
        done += bad_message(siege, props, random);
        break;
      default:
        done += bad_order(siege, props, random);
    }
    if (done % 512 < 16 || done >= count) {
      // What the test remembers is no part of what the process may hold.
      siege.descriptors_at_rest();
      lines += siege.target.events.lines();
      siege.target.events.forget();
    }
  }
  return lines;
}

Holdings at_rest(Siege& siege) {
  siege.descriptors_at_rest();
  malloc_trim(0);
  return Holdings::now();
}

}  // namespace

TEST_CASE("endurance: descriptors, mappings and memory are flat over malformed input") {
  const uint32_t seed = 20261126;
  CAPTURE(seed);
  std::mt19937 random(seed);
  Siege siege;
  const Props props;
  // Everything that is kept for later is there after the first few hundred.
  const auto began = Clock::now();
  const size_t first_lines = attack(siege, props, random, 1000);
  const Holdings before = at_rest(siege);
  const size_t count = wanted_count();
  const size_t lines = first_lines + attack(siege, props, random, count);
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(Clock::now() - began).count();
  const Holdings after = at_rest(siege);
  MESSAGE("malformed inputs: ", count, "; descriptors ", before.descriptors, " to ",
          after.descriptors, ", mappings ", before.mappings, " to ", after.mappings, ", resident ",
          before.resident_kib, " to ", after.resident_kib, " KiB; log lines: ", lines, " in ",
          seconds, " s");
  CHECK(after.descriptors == before.descriptors);
  CHECK(after.mappings <= before.mappings + 8);
#ifndef __SANITIZE_ADDRESS__  // which keeps what was freed
  CHECK(after.resident_kib <= before.resident_kib + 2048);
#endif
  // The session's complaints and each worker's: a burst, one more in five seconds, and with each
  // the number of those left out.
  const auto sources = 3u;
  CHECK(lines <= sources * 2 * (kLogBurst + static_cast<size_t>(seconds) / kLogRefill.count() + 1));
  CHECK(lines > 0);
}

}  // namespace remap::test
