/* A management library with one GPU at PCI address 0000:01:00.0, whose energy counter grows by 250 mJ a reading. The GPU at 0000:02:00.0
 * has no counter and no power limit, as a MIG slice. */
#include <string.h>

#define NO_DEVICE 6
#define NOT_SUPPORTED 3

static int with_counter, without_counter;

int nvmlInit_v2(void) {
  return 0;
}
const char* nvmlErrorString(int status) {
  return status == NO_DEVICE ? "Not Found" : "Not Supported";
}
int nvmlDeviceGetHandleByPciBusId_v2(const char* address, void** device) {
  if (strcmp(address, "0000:01:00.0") == 0) {
    *device = &with_counter;
    return 0;
  }
  if (strcmp(address, "0000:02:00.0") == 0) {
    *device = &without_counter;
    return 0;
  }
  return NO_DEVICE;
}
int nvmlDeviceGetTotalEnergyConsumption(void* device, unsigned long long* millijoules) {
  static unsigned long long total = 0;
  if (device == &without_counter) return NOT_SUPPORTED;
  *millijoules = total += 250;
  return 0;
}
int nvmlDeviceGetClockInfo(void* device, unsigned type, unsigned* mhz) {
  (void)device;
  *mhz = type == 1 ? 1980 : 3201;
  return 0;
}
int nvmlDeviceGetMaxClockInfo(void* device, unsigned type, unsigned* mhz) {
  return nvmlDeviceGetClockInfo(device, type, mhz);
}
int nvmlDeviceGetTemperature(void* device, unsigned sensor, unsigned* celsius) {
  (void)device;
  (void)sensor;
  *celsius = 41;
  return 0;
}
int nvmlDeviceGetPowerUsage(void* device, unsigned* milliwatts) {
  (void)device;
  *milliwatts = 123456;
  return 0;
}
int nvmlDeviceGetEnforcedPowerLimit(void* device, unsigned* milliwatts) {
  if (device == &without_counter) return NOT_SUPPORTED;
  *milliwatts = 700000;
  return 0;
}
int nvmlSystemGetDriverVersion(char* text, unsigned size) {
  strncpy(text, "580.00", size);
  return 0;
}
