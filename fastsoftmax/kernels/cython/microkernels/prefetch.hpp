// Lines of memory to fetch while tiles compute: one or two a step, in as many of the tiles as it takes.
//
// Left alone, a thread waits for memory while it packs and leaves memory idle while it computes; at
// 500k x 50, k = 3 the wait was half of the time (183 cycles a row, 99 with X in cache). Fetched all at once,
// tiles wait for the bus instead, so the lines are spread over all the steps of a block.
//
// Lines of a piece of memory follow each other before the next piece begins: columns of an F-order block, swept
// line by line instead, cost DRAM a page for every line.
#pragma once

#include "microkernels/simd.hpp"

namespace fastsoftmax {
namespace {

constexpr ptrdiff_t CACHE_LINE = 64;

// A gradient larger than this does not stay in L2 beside the rest of a block.
constexpr ptrdiff_t FAR_BYTES = 256 << 10;

struct Ahead {
    const char* at;
    ptrdiff_t jump;          // bytes from the last line of a piece to the first of the next
    int piece, rest;         // lines of a piece; of this one, those to come
    ptrdiff_t left;          // lines in all
    double share, credit;    // lines a step, on average; lines owed
    bool far = false;        // whether what tiles add to lies beyond L2

    // `count` pieces of `bytes` each, `stride` apart, during `steps` steps.
    static Ahead pieces(const char* data, ptrdiff_t count, ptrdiff_t bytes, ptrdiff_t stride, ptrdiff_t steps) {
        if (stride == bytes) bytes *= count, count = 1;
        const ptrdiff_t piece = (bytes + CACHE_LINE - 1) / CACHE_LINE, total = count * piece;
        const double share = double(total) / double(steps > 0 ? steps : 1);
        return {data, stride - CACHE_LINE * (piece - 1), int(piece), int(piece), total, share, 0};
    }
    static Ahead nothing(const char* data) { return {data, 0, 1, 1, 0, 0, 0}; }

    // Lines a step in the next tile of `steps` steps: 0, 1 or 2. Rather early than late: what a block's last tile leaves
    // is waited for.
    int turn(ptrdiff_t steps) {
        if (left <= 0) return 0;
        const double all = double(steps);
        credit += share * all;
        const int lines = credit <= 0 ? 0 : credit <= all ? 1 : 2;
        credit -= lines * all;
        left -= lines * steps;
        return lines;
    }
    INLINE void fetch() {
        __builtin_prefetch(at, 0, 2);
        const bool last = --rest == 0;
        at += last ? jump : CACHE_LINE;
        rest = last ? piece : rest;
    }
    INLINE void fetch(int lines) {
        Ahead ahead = *this;  // in registers
        for (int i = 0; i < lines; ++i) ahead.fetch();
        at = ahead.at, rest = ahead.rest;
    }
};

}  // namespace
}  // namespace fastsoftmax
