#include "native/virtqueue.h"

#include <doctest/doctest.h>

#include "guest_ring.h"

namespace remap::test {

namespace {

using Take = Virtqueue::Take;

bool walks(GuestRing& ring, uint16_t head, size_t* descriptors = nullptr) {
  uint32_t hint = 0;
  size_t count = 0;
  const bool whole = ring.queue.walk(head, ring.map, &hint, [&](uint64_t, uint64_t, bool) {
    ++count;
    return true;
  });
  if (descriptors != nullptr) *descriptors = count;
  return whole;
}

}  // namespace

TEST_CASE("virtqueue: takes heads in order and wraps") {
  GuestRing ring(4);
  uint16_t head = 0;
  for (uint32_t i = 0; i < 100000; ++i) {
    ring.offer(static_cast<uint16_t>(i % 4));
    REQUIRE(ring.queue.take(&head) == Take::kHead);
    REQUIRE(head == i % 4);
    REQUIRE(ring.queue.take(&head) == Take::kNone);
    ring.queue.put_used(head, i);
    ring.queue.publish();
    REQUIRE(ring.used->idx == static_cast<uint16_t>(i + 1));
    REQUIRE(ring.used->ring[i % 4].id == head);
    REQUIRE(ring.used->ring[i % 4].len == i);
  }
}

TEST_CASE("virtqueue: an available index that jumps, and a head beyond the table, break it") {
  GuestRing jump(4);
  uint16_t head = 0;
  jump.avail->idx = 5;
  CHECK(jump.queue.take(&head) == Take::kBroken);
  GuestRing beyond(4);
  beyond.offer(4);
  CHECK(beyond.queue.take(&head) == Take::kBroken);
}

TEST_CASE("virtqueue: malformed chains end the walk") {
  GuestRing ring(8);
  const uint64_t a = GuestRing::kBase;
  SUBCASE("a descriptor that points at itself") {
    ring.chain(0, {{a, 16, false}});
    ring.desc[0].flags |= VRING_DESC_F_NEXT;
    ring.desc[0].next = 0;
    CHECK_FALSE(walks(ring, 0));
  }
  SUBCASE("a loop of two") {
    ring.chain(0, {{a, 16, false}, {a, 16, false}});
    ring.desc[1].flags |= VRING_DESC_F_NEXT;
    ring.desc[1].next = 0;
    CHECK_FALSE(walks(ring, 0));
  }
  SUBCASE("next beyond the table") {
    ring.chain(0, {{a, 16, false}, {a, 16, true}});
    ring.desc[0].next = 8;
    CHECK_FALSE(walks(ring, 0));
  }
  SUBCASE("readable after writable") {
    ring.chain(0, {{a, 16, true}, {a, 16, false}});
    CHECK_FALSE(walks(ring, 0));
  }
  SUBCASE("the whole table in one chain is fine") {
    std::vector<Segment> all(8, {a, 16, false});
    ring.chain(0, all);
    size_t seen = 0;
    CHECK(walks(ring, 0, &seen));
    CHECK(seen == 8);
  }
}

TEST_CASE("virtqueue: indirect tables") {
  const uint64_t table = GuestRing::kBase + 4096 - 40;
  const std::vector<Segment> three = {{GuestRing::kBase, 16, false},
                                      {GuestRing::kBase + 512, 512, true},
                                      {GuestRing::kBase + 64, 1, true}};
  SUBCASE("in one region") {
    GuestRing ring(8);
    ring.indirect(2, table, three);
    size_t seen = 0;
    CHECK(walks(ring, 2, &seen));
    CHECK(seen == 3);
  }
  SUBCASE("over the border of two regions, at every byte") {
    for (uint64_t split = 4096 - 40; split <= 4096 + 16; ++split) {
      GuestRing ring(8, false, split);
      ring.indirect(2, table, three);
      size_t seen = 0;
      CHECK(walks(ring, 2, &seen));
      CHECK(seen == 3);
    }
  }
  SUBCASE("bad ones") {
    GuestRing ring(8);
    ring.indirect(0, table, three);
    ring.desc[0].len = 0;
    CHECK_FALSE(walks(ring, 0));
    ring.desc[0].len = 24;
    CHECK_FALSE(walks(ring, 0));
    ring.desc[0].len = (kIndirectEntriesMax + 1) * sizeof(vring_desc);
    CHECK_FALSE(walks(ring, 0));
    ring.desc[0].len = 48;
    ring.desc[0].flags |= VRING_DESC_F_NEXT;
    CHECK_FALSE(walks(ring, 0));
    ring.desc[0].flags = VRING_DESC_F_INDIRECT;
    ring.desc[0].addr = GuestRing::kBase + GuestRing::kBytes - 16;
    CHECK_FALSE(walks(ring, 0));
    // Nested.
    ring.indirect(0, table, three);
    vring_desc inner{table, 48, VRING_DESC_F_INDIRECT, 0};
    ring.put(table, &inner, sizeof inner);
    CHECK_FALSE(walks(ring, 0));
    // A loop inside the table.
    ring.indirect(0, table, three);
    vring_desc loop{GuestRing::kBase, 16, VRING_DESC_F_NEXT, 0};
    ring.put(table, &loop, sizeof loop);
    CHECK_FALSE(walks(ring, 0));
  }
}

TEST_CASE("virtqueue: calls follow the flag without EVENT_IDX") {
  GuestRing ring(4);
  auto serve = [&] {
    uint16_t head = 0;
    ring.offer(0);
    REQUIRE(ring.queue.take(&head) == Take::kHead);
    ring.queue.put_used(head, 1);
    return ring.queue.publish();
  };
  ring.avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
  CHECK(serve());  // the first after a start, whatever the flag says
  CHECK_FALSE(serve());
  ring.avail->flags = 0;
  CHECK(serve());
  CHECK_FALSE(ring.queue.publish());  // nothing new
}

TEST_CASE("virtqueue: calls follow used_event with EVENT_IDX, over the wrap") {
  GuestRing ring(4, true);
  uint16_t head = 0;
  bool first = true;
  for (uint32_t i = 0; i < 70000; ++i) {
    // The guest wants to hear of every third element.
    const auto wanted = static_cast<uint16_t>(i / 3 * 3);
    ring.avail->ring[4] = wanted;
    ring.offer(0);
    REQUIRE(ring.queue.take(&head) == Take::kHead);
    ring.queue.put_used(head, 1);
    const bool call = ring.queue.publish();
    if (first) {
      CHECK(call);
      first = false;
    } else {
      REQUIRE(call == (i % 3 == 0));
    }
  }
}

TEST_CASE("virtqueue: kicks are asked for through avail_event or the flag") {
  GuestRing event(4, true);
  event.offer(0);
  uint16_t head = 0;
  REQUIRE(event.queue.take(&head) == Take::kHead);
  event.queue.request_kicks();
  CHECK(*reinterpret_cast<uint16_t*>(&event.used->ring[4]) == 1);
  GuestRing flag(4);
  flag.queue.suppress_kicks();
  CHECK(flag.used->flags == VRING_USED_F_NO_NOTIFY);
  flag.queue.request_kicks();
  CHECK(flag.used->flags == 0);
}

}  // namespace remap::test
