{
  "targets": [
    {
      "target_name": "launcher",
      "type": "none",
      "hard_dependency": 1,
      "actions": [
        {
          "action_name": "launcher",
          "inputs": ["launcher/build.sh", "<!@(ls launcher/*.c launcher/*.h)"],
          "outputs": ["<(module_root_dir)/build/launcher"],
          "action": ["sh", "launcher/build.sh", "<(module_root_dir)/build/launcher"]
        }
      ]
    },
    {
      "target_name": "tscontain",
      "dependencies": ["launcher"],
      "sources": ["addon/addon.cc", "addon/cgroup.cc", "addon/channel.cc", "addon/descriptor.cc", "addon/file_pair.cc", "addon/landlock.cc", "addon/layer.cc", "addon/mount.cc", "addon/namespace.cc", "addon/netlink.cc", "addon/poller.cc", "addon/port.cc", "addon/seccomp.cc", "addon/socket.cc", "addon/spawn.cc", "addon/store.cc", "addon/stream.cc", "addon/xattr.cc"],
      "include_dirs": ["<!@(node -p \"require('node-addon-api').include_dir\")"],
      "defines": ["NAPI_VERSION=8", "NODE_ADDON_API_DISABLE_CPP_EXCEPTIONS", "NODE_ADDON_API_DISABLE_DEPRECATED", "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS", "LAUNCHER_PATH=\"<(module_root_dir)/build/launcher\""],
      "cflags": ["-Wall", "-Wextra", "-Wno-unused-parameter", "-fvisibility=hidden"],
      "cflags_cc!": ["-fno-rtti"],
      "cflags_cc": ["-std=c++17"],
      "ldflags": ["-Wl,-z,relro,-z,now", "-static-libstdc++", "-static-libgcc"]
    }
  ]
}
