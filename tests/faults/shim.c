/* Faults of the system under one process, loaded with LD_PRELOAD. What happens is said by environment variables, read at each
 * call, so that a forked child may set its own:
 *
 * SHIM_PATH         only files with this in their path are hit
 * SHIM_WRITE_AT     kill -9 inside the n-th pwrite, after SHIM_WRITE_BYTES of it (default: half)
 * SHIM_WRITE_ERRNO  every pwrite fails with this number
 * SHIM_SYNC_AT      the n-th fdatasync fails with EIO and the bytes not synced before are lost, as after a real one;
 *                   SHIM_SYNC_TIMES of them in a row (default 1)
 * SHIM_LOG          a file with a line per fdatasync: its inode and 1, or 0 where it failed
 * SHIM_CLOCK        a file of two doubles: seconds added to the time of day, and, unless 0, what the monotonic clock shows
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { FILES = 4096 };
static off_t synced[FILES];
static ino_t inode[FILES];
static int n_writes, n_syncs;

static int number(const char *name, int otherwise) {
  const char *text = getenv(name);
  return text ? atoi(text) : otherwise;
}

static int is_hit(int fd) {
  const char *wanted = getenv("SHIM_PATH");
  char link[64], path[4096];
  if (!wanted || fd < 0 || fd >= FILES) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, path, sizeof path - 1);
  if (n < 0) return 0;
  path[n] = 0;
  return strstr(path, wanted) != NULL;
}

static ssize_t shim_write(int fd, const void *bytes, size_t size, off_t at) {
  static ssize_t (*real)(int, const void *, size_t, off_t);
  if (!real) real = dlsym(RTLD_NEXT, "pwrite64");
  if (is_hit(fd)) {
    int wanted = number("SHIM_WRITE_AT", 0), refused = number("SHIM_WRITE_ERRNO", 0);
    if (wanted && ++n_writes == wanted) {
      size_t part = (size_t)number("SHIM_WRITE_BYTES", (int)(size / 2));
      real(fd, bytes, part < size ? part : size, at);
      kill(getpid(), SIGKILL);
    }
    if (refused) {
      errno = refused;
      return -1;
    }
  }
  return real(fd, bytes, size, at);
}
ssize_t pwrite64(int fd, const void *bytes, size_t size, off_t at) { return shim_write(fd, bytes, size, at); }
ssize_t pwrite(int fd, const void *bytes, size_t size, off_t at) { return shim_write(fd, bytes, size, at); }

int fdatasync(int fd) {
  static int (*real)(int);
  if (!real) real = dlsym(RTLD_NEXT, "fdatasync");
  if (!is_hit(fd)) return real(fd);
  struct stat found;
  fstat(fd, &found);
  if (inode[fd] != found.st_ino || synced[fd] > found.st_size) synced[fd] = 0;
  inode[fd] = found.st_ino;
  int first = number("SHIM_SYNC_AT", 0), is_refused = 0;
  n_syncs++;
  if (first) is_refused = n_syncs >= first && n_syncs < first + number("SHIM_SYNC_TIMES", 1);
  const char *log = getenv("SHIM_LOG");
  if (log) {
    char line[64];
    int out = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int n = snprintf(line, sizeof line, "%lu %d\n", (unsigned long)found.st_ino, !is_refused);
    if (out >= 0 && write(out, line, (size_t)n) == n) close(out);
  }
  if (is_refused) {
    off_t end = found.st_size;
    if (ftruncate(fd, synced[fd]) == 0 && ftruncate(fd, end) == 0) errno = EIO;
    errno = EIO;
    return -1;
  }
  synced[fd] = found.st_size;
  return real(fd);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  static int (*real)(clockid_t, struct timespec *);
  static volatile double *shift;
  static int is_open;
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  if (!is_open) {
    is_open = 1;
    const char *path = getenv("SHIM_CLOCK");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd >= 0) {
      void *found = mmap(NULL, 2 * sizeof(double), PROT_READ, MAP_SHARED, fd, 0);
      if (found != MAP_FAILED) shift = found;
      close(fd);
    }
  }
  int answer = real(clock, now);
  if (!shift || answer != 0) return answer;
  double seconds;
  if (clock == CLOCK_REALTIME && shift[0] != 0) {
    seconds = (double)now->tv_sec + shift[0];
    now->tv_sec = (time_t)seconds;
  } else if (clock == CLOCK_MONOTONIC && shift[1] != 0) {
    now->tv_sec = (time_t)shift[1];
    now->tv_nsec = 0;
  }
  return answer;
}
