// How many threads a pass may have.
//
// Where the system refuses a thread (ulimit -u, pids.max of a control group, seccomp, memory), OpenMP ends the process.
// So before the first parallel region of a caller, and before one that is larger than all of its regions before, as
// many threads as OpenMP will start are started on trial. Right after that OpenMP starts its own, which it keeps for
// this caller, and no other caller of this module may come between. It takes as long as starting them does, some 40 us
// for each on two busy cores, once for each calling thread.
//
// That does not cover everything: OpenMP ends threads that a smaller region has no use for, and starts others for the
// next large one. Where something else has taken the last threads by then, or where OMP_STACKSIZE asks for more memory
// than there is, the process still ends.
#include "call.hpp"

#ifdef _OPENMP
#include <omp.h>
#include <pthread.h>
#include <sched.h>
#ifdef __linux__
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <algorithm>
#include <atomic>
#include <mutex>
#include <vector>

namespace fastsoftmax {
namespace {

#ifdef __linux__
long thread_id() { return syscall(SYS_gettid); }
// Limits count a thread until the kernel has put it away, a little after pthread_join has returned.
void wait_until_gone(long id) {
    constexpr int yields = 10'000;  // some 10 ms; a debugger may keep a dead thread for longer
    for (int i = 0; i < yields && !syscall(SYS_tgkill, getpid(), id, 0); ++i) sched_yield();
}
#else
long thread_id() { return 0; }
void wait_until_gone(long) {}
#endif

// A thread on trial: it lives until the gate opens. It allocates nothing, since an allocator may reserve much memory
// for each thread that does.
extern "C" void* pass_gate(void* gate) {
    pthread_mutex_lock((pthread_mutex_t*)gate);
    pthread_mutex_unlock((pthread_mutex_t*)gate);
    return (void*)thread_id();
}

// LLVM's OpenMP asks for stacks a little larger than the default.
constexpr size_t STACK_MARGIN = 128 << 10;

// How many of `wanted` threads live at the same time.
int try_threads(int wanted) {
    std::vector<pthread_t> threads(wanted);
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    pthread_attr_t attributes;
    size_t stack = 0;
    pthread_attr_init(&attributes);
    pthread_attr_getstacksize(&attributes, &stack);
    pthread_attr_setstacksize(&attributes, stack + STACK_MARGIN);
    int started = 0;
    pthread_mutex_lock(&gate);
    while (started < wanted && !pthread_create(&threads[started], &attributes, pass_gate, &gate)) ++started;
    pthread_mutex_unlock(&gate);
    pthread_attr_destroy(&attributes);
    std::vector<void*> ids(started);
    for (int i = 0; i < started; ++i) pthread_join(threads[i], &ids[i]);
    for (void* id : ids) wait_until_gone((long)id);
    return started;
}

// Has OpenMP start what it lacks of a team of this size.
void start_team(int threads) {
    std::atomic<int> running{0};
#pragma omp parallel num_threads(threads)
    ++running;
}

std::mutex growing;
// Of the calling thread, which has threads of OpenMP of its own: the most that it asked for, and what it got.
thread_local int asked = 1, granted = 1;

}  // namespace

int granted_threads(int wanted) {
    if (wanted > asked) {
        std::lock_guard<std::mutex> alone(growing);
        const int kept = std::min(granted, 2);  // what is sure to be left after smaller regions
        start_team(kept);
        granted = kept + try_threads(wanted - kept);
        asked = wanted;
        start_team(granted);
    }
    return std::min(wanted, granted);
}

int openmp_threads() { return omp_get_max_threads(); }

}  // namespace fastsoftmax

#else

namespace fastsoftmax {

int granted_threads(int) { return 1; }
int openmp_threads() { return 0; }

}  // namespace fastsoftmax
#endif
