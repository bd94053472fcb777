/* A driver's library of one card, for the unmodified nvidia-ml-py: numbers as in tests/emulators/nvml.py.

   Built by tests/channelscribe/gpu/test_real_library.py where a C compiler is at hand. Layouts are those of NVML's
   public interface; whatever is not here answers "function not found", as an older driver does. */

#include <string.h>
#include <unistd.h>

typedef unsigned int u32;
typedef unsigned long long u64;
enum { OK = 0, UNSUPPORTED = 3, SMALL = 7, TIMEOUT = 10 };

static int card, events, xids = 2;

int nvmlInitWithFlags(u32 flags) { return OK; }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) { return "as the stub says"; }
int nvmlSystemGetDriverVersion(char *text, u32 size) { strcpy(text, "580.95.05"); return OK; }
int nvmlSystemGetProcessName(u32 pid, char *text, u32 size) { strcpy(text, "/usr/bin/python3"); return OK; }
int nvmlDeviceGetCount_v2(u32 *count) { *count = 1; return OK; }
int nvmlDeviceGetHandleByIndex_v2(u32 index, void **handle) { *handle = &card; return OK; }
int nvmlDeviceGetUUID(void *d, char *text, u32 size) { strcpy(text, "GPU-5ad1c0de-0000-4000-8000-000000000001"); return OK; }
int nvmlDeviceGetName(void *d, char *text, u32 size) { strcpy(text, "NVIDIA GeForce RTX 4090"); return OK; }
int nvmlDeviceGetMigMode(void *d, u32 *now, u32 *next) { return UNSUPPORTED; }

int nvmlDeviceGetTemperature(void *d, u32 sensor, u32 *value) { *value = 61; return OK; }
int nvmlDeviceGetMarginTemperature(void *d, struct { u32 version; int margin; } *info) { info->margin = 22; return OK; }
int nvmlDeviceGetTemperatureThreshold(void *d, u32 which, u32 *value) { *value = which ? 90 : 95; return OK; }
int nvmlDeviceGetPowerUsage(void *d, u32 *value) { *value = 300000; return OK; }
int nvmlDeviceGetCurrentClocksEventReasons(void *d, u64 *value) { *value = 4; return OK; }
int nvmlDeviceGetTotalEnergyConsumption(void *d, u64 *value) { *value = 5000000; return OK; }
int nvmlDeviceGetClockInfo(void *d, u32 which, u32 *value) { *value = which == 2 ? 10501 : 2520; return OK; }
int nvmlDeviceGetMaxClockInfo(void *d, u32 which, u32 *value) { *value = which == 2 ? 11001 : 3020; return OK; }
int nvmlDeviceGetFanSpeed(void *d, u32 *value) { *value = 44; return OK; }
int nvmlDeviceGetEnforcedPowerLimit(void *d, u32 *value) { *value = 450000; return OK; }
int nvmlDeviceGetPowerManagementDefaultLimit(void *d, u32 *value) { *value = 450000; return OK; }
int nvmlDeviceGetPcieThroughput(void *d, u32 which, u32 *value) { *value = which ? 2000 : 1000; return OK; }
int nvmlDeviceGetCurrPcieLinkGeneration(void *d, u32 *value) { *value = 4; return OK; }
int nvmlDeviceGetCurrPcieLinkWidth(void *d, u32 *value) { *value = 16; return OK; }
int nvmlDeviceGetPcieReplayCounter(void *d, u32 *value) { *value = 3; return OK; }
int nvmlDeviceGetTotalEccErrors(void *d, u32 kind, u32 counter, u64 *value) { return UNSUPPORTED; }

static u32 limit = 450000;
int nvmlDeviceGetPowerManagementLimit(void *d, u32 *value) { *value = limit; return OK; }
int nvmlDeviceSetPowerManagementLimit(void *d, u32 value) { limit = value; return OK; }
int nvmlDeviceGetPowerManagementLimitConstraints(void *d, u32 *least, u32 *most) {
  *least = 150000, *most = 480000;
  return OK;
}

int nvmlDeviceGetUtilizationRates(void *d, struct { u32 gpu, memory; } *rates) {
  rates->gpu = 97, rates->memory = 41;
  return OK;
}

int nvmlDeviceGetViolationStatus(void *d, u32 policy, struct { u64 reference, violation; } *time) {
  time->violation = policy ? 3500000000ull : 1250000000ull;
  return OK;
}

int nvmlDeviceGetMemoryInfo(void *d, struct { u64 total, free, used; } *m) {
  m->total = 24ull << 30, m->free = 15ull << 30, m->used = 9ull << 30;
  return OK;
}

int nvmlDeviceGetMemoryInfo_v2(void *d, struct { u32 version; u64 total, reserved, free, used; } *m) {
  if (m->version != 0x02000028) return 25;
  m->total = 24ull << 30, m->reserved = 384ull << 20, m->free = (15ull << 30) - (384ull << 20), m->used = 9ull << 30;
  return OK;
}

struct field { u32 id, scope; long long at, latency; u32 type; int code; union { double d; u32 u; u64 l; } value; };
int nvmlDeviceGetFieldValues(void *d, int count, struct field *fields) {
  for (int i = 0; i < count; i++) {
    fields[i].type = 1, fields[i].code = OK;
    if (fields[i].id == 186) fields[i].value.u = 310000;
    else if (fields[i].id == 185) fields[i].value.u = 295000;
    else fields[i].code = UNSUPPORTED, fields[i].value.u = 0; /* memory temperature: a false 0 for who does not look */
  }
  return OK;
}

struct process { u32 pid; u64 used; u32 instance, compute; };
int nvmlDeviceGetComputeRunningProcesses_v3(void *d, u32 *count, struct process *found) {
  if (!found) { *count = 1; return SMALL; }
  *count = 1, found[0].pid = getpid(), found[0].used = 512ull << 20;
  return OK;
}

int nvmlEventSetCreate(void **set) { *set = &events; return OK; }
int nvmlDeviceRegisterEvents(void *d, u64 kinds, void *set) { return kinds == 8 ? OK : UNSUPPORTED; }
int nvmlEventSetFree(void *set) { return set == &events ? OK : 2; }
int nvmlEventSetWait_v2(void *set, struct { void *device; u64 type, data; u32 instance, compute; } *event, u32 ms) {
  if (set != &events || ms) return 2;
  if (!xids) return TIMEOUT;
  event->device = &card, event->type = 8, event->data = 40 + xids--;
  return OK;
}
