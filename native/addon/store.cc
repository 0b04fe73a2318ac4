// What the image store needs of the kernel and Node has no call for: locks that end with their owner, removal of trees
// that others have made, and a file system brought to disk.
#include "addon.h"
#include "descriptor.h"
#include "layer.h"
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <string>
#include <sys/file.h>
#include <sys/syscall.h>

namespace tscontain {

namespace {

// Opens and locks the file; -1 and errno, EWOULDBLOCK where another holds it.
int OpenLocked(const std::string& path, int flags, int operation) {
  // Whoever removes a file that is locked holds the lock. So a lock counts only if the path still leads to its file.
  for (int tries = 0; tries < 128; tries++) {
    UniqueFd fd(open(path.c_str(), flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600));
    struct stat held, named;
    if (fd.get() < 0 || flock(fd.get(), operation | LOCK_NB) < 0 || fstat(fd.get(), &held) < 0)
      return -1;
    if (lstat(path.c_str(), &named) == 0 && named.st_ino == held.st_ino && named.st_dev == held.st_dev)
      return fd.release();
  }
  errno = EWOULDBLOCK;
  return -1;
}

// How deep a tree may go is up to whoever made it; how deep we go is not. A directory that lies too deep is moved up to
// the top of the tree, where it is found again.
class Removal {
public:
  // 0, or the error. Follows no link and leaves neither the tree nor the mount (security M4).
  int Remove(int dir, const char* name, int depth) {
    if (unlinkat(dir, name, 0) == 0)
      return 0;
    if (errno != EISDIR && errno != EPERM)
      return errno;
    if (depth > kDeepest)
      return MoveUp(dir, name);
    UniqueFd fd(OpenWritable(dir, name));
    if (fd.get() < 0)
      return errno;
    if (top_ < 0)
      top_ = fd.get();
    int error = Empty(fd.get(), depth + 1);
    if (top_ == fd.get())
      top_ = -1;
    return error ? error : unlinkat(dir, name, AT_REMOVEDIR) < 0 ? errno : 0;
  }

private:
  struct DirectoryEntry { // getdents64(2)
    uint64_t inode;
    int64_t offset;
    unsigned short reclen;
    unsigned char type;
    char name[];
  };

  // An ordinary user's own directory may deny even its owner to list it or to change it.
  static int OpenWritable(int dir, const char* name) {
    UniqueFd path(OpenBeneath(dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW));
    struct stat facts;
    if (path.get() < 0 || fstat(path.get(), &facts) < 0)
      return -1;
    std::string link = "/proc/self/fd/" + std::to_string(path.get());
    if ((facts.st_mode & 0700) != 0700)
      chmod(link.c_str(), 0700);
    return OpenBeneath(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  }

  int MoveUp(int dir, const char* name) {
    for (;;) {
      std::string fresh = "removed-" + std::to_string(++moved_);
      if (syscall(SYS_renameat2, dir, name, top_, fresh.c_str(), 1 /* RENAME_NOREPLACE */) == 0)
        return 0;
      if (errno != EEXIST)
        return errno;
    }
  }

  int Empty(int fd, int depth) {
    alignas(8) char buffer[4096];
    // Removing while listing may make a file system skip entries: start again until a pass finds nothing to remove.
    for (bool removed = true; removed;) {
      removed = false;
      lseek(fd, 0, SEEK_SET);
      long got;
      while ((got = syscall(SYS_getdents64, fd, buffer, sizeof buffer)) > 0)
        for (long at = 0; at < got;) {
          auto entry = reinterpret_cast<const DirectoryEntry*>(buffer + at);
          at += entry->reclen;
          if (!strcmp(entry->name, ".") || !strcmp(entry->name, ".."))
            continue;
          int error = Remove(fd, entry->name, depth);
          if (error && error != ENOENT)
            return error;
          removed = true;
        }
      if (got < 0)
        return errno;
    }
    return 0;
  }

  static constexpr int kDeepest = 64;
  int top_ = -1;
  uint64_t moved_ = 0;
};

// A call on a path, on a thread of the pool.
class PathWorker : public Napi::AsyncWorker {
public:
  PathWorker(const Napi::CallbackInfo& info, const char* call, int (*run)(const std::string&))
      : Napi::AsyncWorker(info.Env()), deferred_(Napi::Promise::Deferred::New(info.Env())), call_(call), run_(run),
        path_(info[0].As<Napi::String>().Utf8Value()) {}

  Napi::Promise Promise() {
    return deferred_.Promise();
  }
  void Execute() override {
    error_ = run_(path_);
  }
  void OnOK() override {
    if (!error_)
      return deferred_.Resolve(Env().Undefined());
    ThrowErrno(Env(), call_, error_);
    deferred_.Reject(Env().GetAndClearPendingException().Value());
  }

private:
  Napi::Promise::Deferred deferred_;
  const char* call_;
  int (*run_)(const std::string&);
  std::string path_;
  int error_ = 0;
};

int RemovePath(const std::string& path) {
  size_t slash = path.rfind('/');
  UniqueFd dir(open(path.substr(0, slash + 1).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (dir.get() < 0)
    return errno;
  int error = Removal().Remove(dir.get(), path.c_str() + slash + 1, 0);
  return error == ENOENT ? 0 : error;
}

int SyncPath(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  return fd.get() < 0 || syncfs(fd.get()) < 0 ? errno : 0;
}

Napi::Value Queue(PathWorker* worker) {
  Napi::Promise promise = worker->Promise();
  worker->Queue();
  return promise;
}

} // namespace

// lockFile(path, kind, exclusive): the descriptor that holds the lock (flock(2)), undefined where another holds it.
static Napi::Value LockFile(const Napi::CallbackInfo& info) {
  std::string path = info[0].As<Napi::String>(), kind = info[1].As<Napi::String>();
  int flags = kind == "directory" ? O_RDONLY | O_DIRECTORY : kind == "create" ? O_RDWR | O_CREAT : O_RDWR;
  int fd = OpenLocked(path, flags, info[2].ToBoolean() ? LOCK_EX : LOCK_SH);
  if (fd >= 0)
    return Napi::Value(info.Env(), Descriptor::Wrap(info.Env(), fd));
  if (errno != EWOULDBLOCK)
    ThrowErrno(info.Env(), "flock", errno);
  return info.Env().Undefined();
}

// removeTree(path): what is there and all below it; nothing there is no error.
static Napi::Value RemoveTree(const Napi::CallbackInfo& info) {
  return Queue(new PathWorker(info, "unlinkat", RemovePath));
}

// syncFileSystem(directory): everything that was written to its file system is on disk then (syncfs(2)).
static Napi::Value SyncFileSystem(const Napi::CallbackInfo& info) {
  return Queue(new PathWorker(info, "syncfs", SyncPath));
}

Napi::Object InitStore(Napi::Env env, Napi::Object exports) {
  exports.Set("lockFile", Napi::Function::New(env, LockFile));
  exports.Set("removeTree", Napi::Function::New(env, RemoveTree));
  exports.Set("syncFileSystem", Napi::Function::New(env, SyncFileSystem));
  return exports;
}

} // namespace tscontain
