// Recursive removal by descriptor: no link is followed, no mount is crossed (security M4).
#pragma once
#include "sys.h"
// Removes `name` in `dir` and all below it. Returns 0 or the first error.
long remove_tree(int dir, const char* name);
