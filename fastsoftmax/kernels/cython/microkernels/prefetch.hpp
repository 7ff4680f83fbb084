// Prefetching the next block of rows while the tiles work on this one.
//
// Without it a thread waits for memory while it packs a block, and memory is idle while the thread computes. 500k x 50,
// k = 3: 183 cycles a row, 99 with X in cache. If the whole block is prefetched at once, the tiles wait for the bus. So
// the cache lines are spread over the steps of all tiles of a block: one or two a step, in as many tiles as it takes.
//
// A piece of memory (a row, a column, or all rows of a block that touch) is prefetched to its end before the next piece
// begins. A sweep over all columns of an F-order block, one line of each, makes DRAM open a page for every line.
#pragma once

#include "microkernels/simd.hpp"

namespace fastsoftmax {
namespace {

constexpr ptrdiff_t CACHE_LINE = 64;

// A gradient of more bytes does not stay in L2 beside the rest of a block.
constexpr ptrdiff_t FAR_BYTES = 256 << 10;

struct Prefetcher {
    const char* at;  // the next line
    ptrdiff_t jump;  // bytes from the last line of a piece to the first line of the next
    int piece, rest;  // lines of a piece; lines of this piece that are still to come
    ptrdiff_t left;  // lines of all pieces that are still to come
    double share, credit;  // lines a step, on average; lines by which the tiles are behind that
    bool far = false;  // whether the gradient that the tiles add to lies beyond L2
    int lines = 0;     // what `lines_per_step` found

    // Prefetches `count` pieces of `bytes` bytes, `stride` apart, within `steps` steps.
    static Prefetcher pieces(const char* data, ptrdiff_t count, ptrdiff_t bytes, ptrdiff_t stride, ptrdiff_t steps) {
        if (stride == bytes) bytes *= count, count = 1;
        const ptrdiff_t piece = (bytes + CACHE_LINE - 1) / CACHE_LINE, total = count * piece;
        const double share = double(total) / double(steps > 0 ? steps : 1);
        return {data, stride - CACHE_LINE * (piece - 1), int(piece), int(piece), total, share, 0};
    }
    // Prefetches nothing.
    static Prefetcher idle(const char* data) { return {data, 0, 1, 1, 0, 0, 0}; }

    // Lines that each step of the next tile is to prefetch: 0, 1 or 2. Rather too many than too few, since the next
    // block waits for the lines that the last tile leaves.
    int lines_per_step(ptrdiff_t steps) {
        lines = 0;
        if (left <= 0) return lines;
        const double all = double(steps);
        credit += share * all;
        lines = credit <= 0 ? 0 : credit <= all ? 1 : 2;
        credit -= lines * all;
        left -= lines * steps;
        return lines;
    }
    INLINE void next_line() {
        __builtin_prefetch(at, 0, 2);
        const bool last = --rest == 0;
        at += last ? jump : CACHE_LINE;
        rest = last ? piece : rest;
    }
    INLINE void next_lines(int lines) {
        Prefetcher prefetch = *this;  // a copy stays in registers
        for (int i = 0; i < lines; ++i) prefetch.next_line();
        at = prefetch.at, rest = prefetch.rest;
    }
};

// The lines that a step of a tile prefetches: 0, 1 or 2, or ANY_LINES for what the prefetcher says. (With ANY_LINES in
// all tiles 500k x 50, k = 3 took 1.05 to 1.09 of the time.) A tile prefetches by a copy of where the prefetcher stands,
// which stays in registers.
constexpr int ANY_LINES = -1;

template <int LINES>
struct PrefetchedLines {
    Prefetcher at;
    explicit PrefetchedLines(const Prefetcher& shared) : at(shared) {}
    INLINE void step() {
        if constexpr (LINES > 0) at.next_line();
        if constexpr (LINES > 1) at.next_line();
        if constexpr (LINES == ANY_LINES)
            for (int i = 0; i < at.lines; ++i) at.next_line();
    }
    INLINE void put_back(Prefetcher& shared) const {
        if constexpr (LINES != 0) shared.at = at.at, shared.rest = at.rest;
    }
};

}  // namespace
}  // namespace fastsoftmax
