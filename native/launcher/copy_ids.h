// Ids of files that are copied from one container to another, by a process that sees both: the source's ids are more by
// `shift` than those that the copy gets (lib/container/fork.ts).
#pragma once
#include "sys.h"

// -EOVERFLOW for an id that is none of the source's.
long shift_id(u64 shift, u32* id);
// The ids in an attribute's value: who a capability counts for, and whom an access control list names.
long shift_attribute(u64 shift, const char* name, char* value, long size);
