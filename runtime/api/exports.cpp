// libfcm.so is the rooms' archives linked whole; a shared library needs one source of its own. It also pins the ABI at compile time.
#include "fcm/fcm.h"

static_assert(FCM_ABI_VERSION == 1, "a change of the ABI version comes with a new SOVERSION");
