#pragma once
#include "launcher.h"

// file.c: one file operation for Node, in a child of init. Sends the answer and exits.
_Noreturn void file_operation(int socket, const struct record* request);
