// The power limit of a card, from the driver's management library (NVML, opened at run time).
#pragma once

namespace fcm {

/// Milliwatts that the card may draw now; 0 where that is not known (no NVML, or a card without a limit).
unsigned power_limit_mw(int ordinal);

}  // namespace fcm
