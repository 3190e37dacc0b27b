// Warp collectives: each lane leaves its call and waits; the last one completes it for all.

#include <bit>
#include <cstdio>

#include "sanitizers.h"
#include "scheduler.h"

namespace cuda_on_cpu {
namespace {

const char* name(WarpOp op) {
  switch (op) {
    case WarpOp::kSync:
      return "__syncwarp";
    case WarpOp::kShuffle:
      return "__shfl_sync";
    case WarpOp::kShuffleUp:
      return "__shfl_up_sync";
    case WarpOp::kShuffleDown:
      return "__shfl_down_sync";
    case WarpOp::kShuffleXor:
      return "__shfl_xor_sync";
    case WarpOp::kBallot:
      return "__ballot_sync";
    case WarpOp::kAll:
      return "__all_sync";
    case WarpOp::kAny:
      return "__any_sync";
    case WarpOp::kMatchAny:
      return "__match_any_sync";
    default:
      return "__reduce_*_sync";
  }
}

std::string hexadecimal(uint32_t mask) {
  char text[16];
  std::snprintf(text, sizeof(text), "0x%08x", mask);
  return text;
}

std::string describe_call(const WarpCall& call) {
  return std::string(name(call.op)) + "(" + hexadecimal(call.mask) + ") at " + describe(call.site);
}

bool same_call(const WarpCall& a, const WarpCall& b) {
  return a.op == b.op && a.mask == b.mask && a.site.line == b.site.line;
}

bool is_shuffle(WarpOp op) { return op >= WarpOp::kShuffle && op <= WarpOp::kShuffleXor; }

// The lane whose value a shuffle returns.
int source_lane(WarpOp op, int lane, int argument, int width) {
  const int base = lane & ~(width - 1);
  switch (op) {
    case WarpOp::kShuffle:
      return base | (argument & (width - 1));
    case WarpOp::kShuffleUp:
      return lane - argument < base ? lane : lane - argument;
    case WarpOp::kShuffleDown:
      return lane + argument >= base + width ? lane : lane + argument;
    default:
      return (lane ^ argument) >= base + width ? lane : lane ^ argument;
  }
}

uint64_t reduce(WarpOp op, uint64_t left, uint64_t right) {
  const auto a = static_cast<uint32_t>(left), b = static_cast<uint32_t>(right);
  const auto signed_a = static_cast<int32_t>(a), signed_b = static_cast<int32_t>(b);
  switch (op) {
    case WarpOp::kReduceAdd:
      return a + b;
    case WarpOp::kReduceMin:
      return a < b ? a : b;
    case WarpOp::kReduceMax:
      return a > b ? a : b;
    case WarpOp::kReduceAnd:
      return a & b;
    case WarpOp::kReduceOr:
      return a | b;
    case WarpOp::kReduceXor:
      return a ^ b;
    case WarpOp::kReduceMinSigned:
      return signed_a < signed_b ? a : b;
    default:
      return signed_a > signed_b ? a : b;
  }
}

// Every lane of the meeting's mask has come: `base` is the warp's first thread.
void complete(int base, Warp& warp, int number) {
  Scheduler& s = scheduler;
  const WarpCall call = warp.meetings[number].call;
  uint32_t votes = 0;
  uint64_t reduced = 0;
  for (uint32_t rest = call.mask; rest != 0; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    if (warp.value[lane] != 0) votes |= 1u << lane;
    reduced = rest == call.mask ? warp.value[lane] : reduce(call.op, reduced, warp.value[lane]);
  }
  for (uint32_t rest = call.mask; rest != 0; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    uint64_t& result = warp.result[lane];
    if (is_shuffle(call.op)) {
      const int source = source_lane(call.op, lane, warp.argument[lane], warp.width[lane]);
      if (source < 0 || source >= kWarp || (call.mask >> source & 1) == 0) {
        s.running = base + lane;
        abandon(describe(base + lane) + ": " + describe_call(call) + " reads lane " +
                std::to_string(source) + ", which is not in the mask");
      }
      result = warp.value[source];
    } else if (call.op == WarpOp::kMatchAny) {
      result = 0;
      for (int other = 0; other < kWarp; ++other) {
        const bool equal = (call.mask >> other & 1) != 0 && warp.value[other] == warp.value[lane];
        result |= equal ? 1u << other : 0;
      }
    } else {
      result = call.op == WarpOp::kBallot ? votes
               : call.op == WarpOp::kAll  ? votes == call.mask
               : call.op == WarpOp::kAny  ? votes != 0
                                          : reduced;
    }
  }
  const bool backwards = options().threads == Order::kReverse;
  for (int i = 0; i < kWarp; ++i) {
    const int lane = backwards ? kWarp - 1 - i : i;
    if ((call.mask >> lane & 1) == 0) continue;
    s.thread[base + lane].wait = Wait::kNothing;
    push_ready(base + lane);
  }
  ++s.record.collectives;
  // The last meeting takes the place of this one.
  warp.meetings[number] = warp.meetings[--warp.count];
  for (uint32_t rest = warp.meetings[number].arrived; rest != 0 && number < warp.count;
       rest &= rest - 1) {
    warp.meeting[std::countr_zero(rest)] = number;
  }
}

// Faults that show as soon as a lane comes.
void check_call(int self, const WarpCall& call, const Warp& warp) {
  const int lane = self % kWarp;
  const auto fail = [&](const std::string& cause) {
    abandon(describe(self) + ": " + describe_call(call) + ": " + cause);
  };
  if ((call.mask >> lane & 1) == 0) fail("the mask lacks the caller, lane " + std::to_string(lane));
  const bool power = call.width > 0 && (call.width & (call.width - 1)) == 0;
  if (call.width > kWarp || !power) {
    fail("width " + std::to_string(call.width) + " is not a power of two up to 32");
  }
  if ((call.mask & warp.absent) != 0) {
    const int other = std::countr_zero(call.mask & warp.absent);
    const bool exists = self / kWarp * kWarp + other < scheduler.threads;
    fail("the mask has lane " + std::to_string(other) +
         (exists ? ", which has left the kernel" : ", which the block does not have"));
  }
  for (int i = 0; i < warp.count; ++i) {
    const Meeting& other = warp.meetings[i];
    const bool each_other = (other.call.mask >> lane & 1) != 0 && (other.arrived & call.mask) != 0;
    if (each_other && !same_call(call, other.call)) {
      fail("lane " + std::to_string(std::countr_zero(other.arrived & call.mask)) +
           " of the mask is at " + describe_call(other.call));
    }
  }
}

int join(Warp& warp, const WarpCall& call, int lane) {
  int number = 0;
  while (number < warp.count && !same_call(call, warp.meetings[number].call)) ++number;
  if (number == warp.count) {
    warp.meetings[warp.count++] = {call, 0, warp.generations++ % 2};
  }
  warp.meetings[number].arrived |= 1u << lane;
  warp.meeting[lane] = number;
  warp.value[lane] = call.value;
  warp.argument[lane] = call.argument;
  warp.width[lane] = call.width;
  return number;
}

}  // namespace

void begin_warps() {
  const int threads = scheduler.threads;
  for (int first = 0; first < threads; first += kWarp) {
    Warp& warp = scheduler.warp[first / kWarp];
    warp.absent = threads - first >= kWarp ? 0 : ~0u << (threads - first);
    warp.count = warp.generations = 0;
  }
}

void leave_warp(int thread) { scheduler.warp[thread / kWarp].absent |= 1u << thread % kWarp; }

uint64_t warp_collective(const WarpCall& call) {
  Scheduler& s = scheduler;
  const int self = s.running, lane = self % kWarp;
  Warp& warp = s.warp[self / kWarp];
  check_call(self, call, warp);
  const int number = join(warp, call, lane);
  s.thread[self].wait = Wait::kWarp;
  // Shuffles and votes order no memory; __syncwarp does.
  const bool orders = call.op == WarpOp::kSync;
  char* token = &tokens().warp[warp.meetings[number].generation][self / kWarp];
  if (orders) order_before(token);
  if (warp.meetings[number].arrived == call.mask) complete(self - lane, warp, number);
  wait_here();
  if (orders) order_after(token);
  return warp.result[lane];
}

uint32_t active_mask() {
  // Any set of lanes with the caller among them may be active together; the smallest finds most.
  return 1u << scheduler.running % kWarp;
}

namespace {

std::string lanes(uint32_t mask) {
  std::string text;
  for (; mask != 0; mask &= mask - 1) {
    text += (text.empty() ? "" : ", ") + std::to_string(std::countr_zero(mask));
  }
  return text;
}

}  // namespace

std::string explain_deadlock() {
  const Scheduler& s = scheduler;
  std::string text = describe(-1) + ": no thread can go on:";
  int listed = 0, more = 0;
  std::string last;
  for (int t = 0; t < s.threads; ++t) {
    const Thread& thread = s.thread[t];
    const Warp& warp = s.warp[t / kWarp];
    std::string cause;
    if (thread.wait == Wait::kBlock) cause = "waits at the barrier at " + describe(thread.site);
    if (thread.wait == Wait::kWarp) {
      const WarpCall& call = warp.meetings[warp.meeting[t % kWarp]].call;
      cause = "waits in " + describe_call(call);
      const std::string left = lanes(call.mask & warp.absent);
      if (!left.empty()) cause += ", but the kernel was left by lane " + left;
    }
    if (cause.empty() || cause == last) continue;
    last = cause;
    if (listed == 6) {
      ++more;
      continue;
    }
    ++listed;
    const uint3& i = thread.index;
    text += "\n  from thread (" + std::to_string(i.x) + "," + std::to_string(i.y) + "," +
            std::to_string(i.z) + "): " + cause;
  }
  if (more > 0) text += "\n  and " + std::to_string(more) + " more";
  return text;
}

}  // namespace cuda_on_cpu
