/* Sets the wall clock of a process: it is ahead of the machine's by as many seconds as the file SETTING says at that
   moment, a 64-bit integer. What counts time since the start of the machine is left alone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *ahead;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int (*machine)(clockid_t, struct timespec *);

static void attach(void) {
  machine = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
  int fd = open(getenv("SETTING"), O_RDONLY | O_CLOEXEC);
  void *place = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *ahead, PROT_READ, MAP_SHARED, fd, 0);
  if (!machine || place == MAP_FAILED) abort();
  close(fd);
  ahead = place;
}

int clock_gettime(clockid_t which, struct timespec *now) {
  pthread_once(&once, attach);
  int failed = machine(which, now);
  if (!failed && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) now->tv_sec += *ahead;
  return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  (void)zone;
  struct timespec precise;
  clock_gettime(CLOCK_REALTIME, &precise);
  now->tv_sec = precise.tv_sec;
  now->tv_usec = precise.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *place) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (place) *place = now.tv_sec;
  return now.tv_sec;
}
