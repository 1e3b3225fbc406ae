#include <new>

#include "runtime/api/handles.h"

namespace fcm::capi {
namespace {

// Handed out when not even a status can be allocated; fcm_status_release knows it.
fcm_status out_of_memory_status{FCM_STATUS_OUT_OF_MEMORY, "out of host memory"};

fcm_status_code code_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::command_line:
      return FCM_STATUS_INVALID_ARGUMENT;
    case ErrorCode::bad_input:
      return FCM_STATUS_BAD_INPUT;
    case ErrorCode::unsupported:
      return FCM_STATUS_UNSUPPORTED;
    case ErrorCode::device:
      return FCM_STATUS_DEVICE;
    case ErrorCode::internal:
      return FCM_STATUS_INTERNAL;
    case ErrorCode::out_of_memory:
      return FCM_STATUS_OUT_OF_MEMORY;
    case ErrorCode::device_lost:
      return FCM_STATUS_DEVICE_LOST;
  }
  return FCM_STATUS_INTERNAL;
}

}  // namespace

fcm_status* make_status(fcm_status_code code, const std::string& message) noexcept {
  try {
    return new fcm_status{code, message};
  } catch (...) {
    return &out_of_memory_status;
  }
}

fcm_status* status_of_current_exception() noexcept {
  try {
    throw;
  } catch (const Error& e) {
    return make_status(code_of(e.code()), e.what());
  } catch (const std::bad_alloc&) {
    return &out_of_memory_status;
  } catch (const std::exception& e) {
    return make_status(FCM_STATUS_INTERNAL, std::string("unexpected error: ") + e.what());
  } catch (...) {
    return make_status(FCM_STATUS_INTERNAL, "unexpected error of unknown type");
  }
}

void require(bool ok, const char* what) {
  if (!ok) throw Error(ErrorCode::command_line, std::string("invalid argument: ") + what);
}

}  // namespace fcm::capi

fcm_status_code fcm_status_get_code(const fcm_status* status) {
  return status == nullptr ? FCM_STATUS_OK : status->code;
}

const char* fcm_status_message(const fcm_status* status) {
  return status == nullptr ? "" : status->message.c_str();
}

void fcm_status_release(fcm_status* status) {
  if (status != &fcm::capi::out_of_memory_status) delete status;
}
