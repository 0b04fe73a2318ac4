// Whether two versions of a file are the same.
#include "layer.h"
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>

namespace tscontain {

int OpenBeneath(int dir, const char* path, int flags) {
  struct open_how how = {};
  how.flags = static_cast<uint64_t>(flags | O_CLOEXEC);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;
  long fd;
  int tries = 0;
  do // EAGAIN where a rename raced with the lookup (openat2(2))
    fd = syscall(SYS_openat2, dir, path, &how, sizeof how);
  while (fd < 0 && (errno == EAGAIN || errno == EINTR) && ++tries < 128);
  return static_cast<int>(fd);
}

namespace {
constexpr size_t kChunk = 128 * 1024;
constexpr size_t kValue = 64 * 1024; // XATTR_SIZE_MAX, XATTR_LIST_MAX

bool Gone(int error) {
  return error == ENOENT || error == ENOTDIR || error == ELOOP || error == ESTALE || error == EXDEV;
}

void Note(FilePair& pair) {
  if (!Gone(errno))
    pair.error = errno;
}

// Only a regular file is ever opened for reading: opening a device or a FIFO does something.
UniqueFd OpenFile(int dir, const char* name) {
  UniqueFd path(OpenBeneath(dir, name, O_PATH | O_NOFOLLOW));
  struct stat facts;
  if (path.get() < 0 || fstat(path.get(), &facts) < 0 || !S_ISREG(facts.st_mode))
    return UniqueFd();
  std::string link = "/proc/self/fd/" + std::to_string(path.get());
  return UniqueFd(open(link.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
}

// As many bytes as there are, up to the size of the buffer; negative on error.
ssize_t ReadFull(int fd, char* buffer) {
  size_t have = 0;
  while (have < kChunk) {
    ssize_t got = read(fd, buffer + have, kChunk - have);
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      return -1;
    if (got == 0)
      break;
    have += static_cast<size_t>(got);
  }
  return static_cast<ssize_t>(have);
}

bool SameBytes(FilePair& pair) {
  if (pair.now.st_size != pair.before.st_size)
    return false;
  errno = ENOENT;
  UniqueFd now = OpenFile(pair.now_dir, pair.name), before;
  if (now.get() >= 0)
    before = OpenFile(pair.before_dir, pair.name);
  if (now.get() < 0 || before.get() < 0) {
    Note(pair);
    return false;
  }
  std::vector<char> a(kChunk), b(kChunk);
  for (;;) {
    ssize_t got = ReadFull(now.get(), a.data()), other = ReadFull(before.get(), b.data());
    if (got < 0 || other < 0)
      Note(pair);
    if (got < 0 || got != other || memcmp(a.data(), b.data(), static_cast<size_t>(got)) != 0)
      return false;
    if (got == 0)
      return true;
  }
}

bool SameTarget(FilePair& pair) {
  char a[4097], b[4097];
  ssize_t now = readlinkat(pair.now_dir, pair.name, a, sizeof a);
  ssize_t before = now < 0 ? -1 : readlinkat(pair.before_dir, pair.name, b, sizeof b);
  if (now < 0 || before < 0)
    Note(pair);
  return now >= 0 && now == before && memcmp(a, b, static_cast<size_t>(now)) == 0;
}

std::string PathOf(int dir, const char* name) {
  return "/proc/self/fd/" + std::to_string(dir) + "/" + name;
}

bool IsOverlays(const std::string& name) {
  return name.rfind("trusted.overlay.", 0) == 0 || name.rfind("user.overlay.", 0) == 0;
}

std::vector<std::string> AttributeNames(FilePair& pair, const std::string& path) {
  std::vector<char> list(kValue);
  ssize_t got = llistxattr(path.c_str(), list.data(), list.size());
  std::vector<std::string> names;
  if (got < 0 && errno != EOPNOTSUPP)
    Note(pair);
  for (ssize_t at = 0; at < got; at += static_cast<ssize_t>(names.back().size()) + 1)
    names.emplace_back(list.data() + at);
  names.erase(std::remove_if(names.begin(), names.end(), IsOverlays), names.end());
  std::sort(names.begin(), names.end());
  return names;
}
} // namespace

bool SameContent(FilePair& pair) {
  if ((pair.now.st_mode & S_IFMT) != (pair.before.st_mode & S_IFMT))
    return false;
  if (S_ISREG(pair.now.st_mode))
    return SameBytes(pair);
  if (S_ISLNK(pair.now.st_mode))
    return SameTarget(pair);
  if (S_ISCHR(pair.now.st_mode) || S_ISBLK(pair.now.st_mode))
    return pair.now.st_rdev == pair.before.st_rdev;
  return true;
}

bool SameAttributes(FilePair& pair) {
  std::string now = PathOf(pair.now_dir, pair.name), before = PathOf(pair.before_dir, pair.name);
  std::vector<std::string> names = AttributeNames(pair, now);
  if (names != AttributeNames(pair, before))
    return false;
  if (names.empty())
    return true;
  std::vector<char> a(kValue), b(kValue);
  for (const std::string& name : names) {
    ssize_t got = lgetxattr(now.c_str(), name.c_str(), a.data(), a.size());
    ssize_t other = lgetxattr(before.c_str(), name.c_str(), b.data(), b.size());
    if (got != other || (got > 0 && memcmp(a.data(), b.data(), static_cast<size_t>(got)) != 0))
      return false;
  }
  return true;
}

} // namespace tscontain
