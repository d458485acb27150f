/* A stand-in for NVIDIA's libnvidia-ml.so.1, so that programs meet its calls on machines without a GPU.
 *
 * The file that NVML_STANDIN names describes the GPUs, and is read anew whenever it has changed:
 *
 *     driver=580.65.06          # lines before the first [..] go for every GPU
 *     temperature=45
 *     [0000:01:00.0]            # one GPU, by its PCI address
 *     uuid=GPU-1
 *     lost=1
 *
 * A key that is not there, or N/A, is one that the device does not support. Of every function, by its name:
 * `error.NAME=16` gives that error, and `hang=NAME` sleeps until the file says something else; `error=16` goes
 * for every function of the GPU. Without NVML_STANDIN the library is as good as missing.
 *
 * Layouts and numbers are those of nvml.h, as nvidia-ml-py 13 declares them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7, TIMED_OUT = 10, LIBRARY_NOT_FOUND = 12, GPU_IS_LOST = 15, OPERATING_SYSTEM = 17,
    UNKNOWN = 999
};
enum { GPUS = 64, NAME = 96, FILE_SIZE = 1 << 16, LINES = 1 << 14, POLL_US = 2000, XIDS = 64 };

typedef unsigned long long u64;
typedef struct { char pci[32]; int session; } Device;
typedef struct { Device *device[GPUS]; int seen[GPUS]; int count; } Events;

static Device found[GPUS];
static int found_count, session, users;

/* ---- the file ---- */

typedef struct { const char *section, *key, *value; } Line;

static __thread struct {
    struct stat as_of;
    char text[FILE_SIZE];
    Line lines[LINES]; /* a hash table: a real driver looks nothing up in a text */
    const char *sections[GPUS];
    int lines_count, sections_count;
} file;

/* Gives where a section's key is or belongs; section "" is what goes for every GPU, key "" says that one is there. */
static Line *find(const char *section, const char *key) {
    unsigned hash = 2166136261u;
    for (const char *at = section; *at; at++) hash = (hash ^ (unsigned char)*at) * 16777619u;
    for (const char *at = key; *at; at++) hash = (hash ^ (unsigned char)*at) * 16777619u;
    for (unsigned at = hash % LINES;; at = (at + 1) % LINES) {
        Line *line = &file.lines[at];
        if (!line->key || (!strcmp(line->key, key) && !strcmp(line->section, section))) return line;
    }
}

/* The last line of a section and key counts. */
static void keep(const char *section, const char *key, const char *value) {
    Line *line = find(section, key);
    if (!line->key && ++file.lines_count > LINES / 2) return;
    *line = (Line){section, key, value};
}

static void parse(void) {
    const char *section = "";
    char *rest;
    memset(file.lines, 0, sizeof file.lines);
    file.lines_count = file.sections_count = 0;
    for (char *line = strtok_r(file.text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        if (*line == '[') {
            section = line + 1;
            line[strcspn(line, "]")] = 0;
            if (!find(section, "")->key && file.sections_count < GPUS) file.sections[file.sections_count++] = section;
            keep(section, "", "");
            continue;
        }
        char *equals = strchr(line, '=');
        if (!equals) continue;
        *equals++ = 0;
        equals[strcspn(equals, "#")] = 0;
        for (size_t last = strlen(equals); last && equals[last - 1] == ' ';) equals[--last] = 0;
        keep(section, line, equals);
    }
}

/* Knows what the file says now; 0 where there is none. It is read again only when it is another one. */
static int look(void) {
    const char *path = getenv("NVML_STANDIN");
    struct stat now;
    if (!path || stat(path, &now)) return 0;
    if (now.st_ino == file.as_of.st_ino && now.st_size == file.as_of.st_size &&
        now.st_mtim.tv_sec == file.as_of.st_mtim.tv_sec && now.st_mtim.tv_nsec == file.as_of.st_mtim.tv_nsec)
        return 1;
    FILE *opened = fopen(path, "r");
    if (!opened) return 0;
    file.text[fread(file.text, 1, FILE_SIZE - 1, opened)] = 0;
    fclose(opened);
    file.as_of = now;
    parse();
    return 1;
}

/* Gives what is said of a device, or of all. */
static const char *said(const Device *device, const char *key) {
    const char *value = device ? find(device->pci, key)->value : NULL;
    if (!value) value = find("", key)->value;
    return value && strcmp(value, "N/A") ? value : NULL;
}

static int word(const Device *device, const char *key, char *value, size_t size) {
    const char *found = said(device, key);
    if (found) snprintf(value, size, "%s", found);
    return found != NULL;
}

static int number(const Device *device, const char *key, u64 *value) {
    const char *found = said(device, key);
    if (!found) return NOT_SUPPORTED;
    *value = strtoull(found, NULL, 0);
    return SUCCESS;
}

static int has(const Device *device, const char *key) {
    u64 value = 0;
    return number(device, key, &value) == SUCCESS && value;
}

/* ---- what every call begins with ---- */

static int ask(const Device *device, const char *function) {
    char key[NAME];
    const char *hangs;
    u64 error = 0;
    if (!getenv("NVML_STANDIN")) return LIBRARY_NOT_FOUND;
    int is_described = look();
    while ((hangs = said(device, "hang")) && !strcmp(hangs, function)) usleep(POLL_US), is_described = look();
    snprintf(key, sizeof key, "error.%s", function);
    if (number(device, key, &error) == SUCCESS && error) return (int)error;
    if (!device) return SUCCESS;
    if (!users) return UNINITIALIZED;
    if (device->session != session) return INVALID_ARGUMENT;
    if (!is_described || !find(device->pci, "")->key || has(device, "lost")) return GPU_IS_LOST;
    number(device, "error", &error);
    return (int)error;
}

#define BEGIN(device) do { int failed_ = ask(device, __func__); if (failed_) return failed_; } while (0)

static int get_uint(const Device *device, const char *key, unsigned *value) {
    u64 wide = 0;
    int result = number(device, key, &wide);
    if (result == SUCCESS) *value = (unsigned)wide;
    return result;
}

static int get_text(const Device *device, const char *key, char *value, unsigned size) {
    return word(device, key, value, size) ? SUCCESS : NOT_SUPPORTED;
}

/* ---- the library and its devices ---- */

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    BEGIN(NULL);
    if (!look()) return OPERATING_SYSTEM;
    if (users++) return SUCCESS; /* as the real one, it looks for GPUs when the first of its users comes */
    session++, found_count = 0;
    for (; found_count < file.sections_count; found_count++) {
        Device *device = &found[found_count];
        snprintf(device->pci, sizeof device->pci, "%s", file.sections[found_count]);
        device->session = session;
    }
    return SUCCESS;
}

int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }

int nvmlShutdown(void) {
    BEGIN(NULL);
    if (!users) return UNINITIALIZED;
    users--;
    return SUCCESS;
}

const char *nvmlErrorString(int result) {
    static char words[32];
    snprintf(words, sizeof words, "Error %d", result);
    return words;
}

int nvmlSystemGetDriverVersion(char *value, unsigned size) {
    BEGIN(NULL);
    return get_text(NULL, "driver", value, size);
}

int nvmlDeviceGetCount_v2(unsigned *count) {
    BEGIN(NULL);
    if (!users) return UNINITIALIZED;
    *count = (unsigned)found_count;
    return SUCCESS;
}

static int open_device(int index, Device **device, const char *function) {
    int result = ask(&found[index], function);
    if (result == SUCCESS) *device = &found[index];
    return result;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, Device **device) {
    BEGIN(NULL);
    if (!users) return UNINITIALIZED;
    return index < (unsigned)found_count ? open_device((int)index, device, __func__) : INVALID_ARGUMENT;
}

int nvmlDeviceGetHandleByPciBusId_v2(const char *pci, Device **device) {
    BEGIN(NULL);
    if (!users) return UNINITIALIZED;
    for (int index = 0; index < found_count; index++)
        if (!strcmp(found[index].pci, pci)) return open_device(index, device, __func__);
    return NOT_FOUND;
}

typedef struct {
    char legacy[16];
    unsigned domain, bus, device, id, subsystem;
    char address[32];
} PciInfo;

int nvmlDeviceGetPciInfo_v3(Device *device, PciInfo *info) {
    BEGIN(device);
    memset(info, 0, sizeof *info);
    snprintf(info->address, sizeof info->address, "%s", device->pci);
    return SUCCESS;
}

#define TEXT(function, key) \
    int function(Device *device, char *value, unsigned size) { BEGIN(device); return get_text(device, key, value, size); }
TEXT(nvmlDeviceGetUUID, "uuid")
TEXT(nvmlDeviceGetName, "name")
TEXT(nvmlDeviceGetVbiosVersion, "vbios")
TEXT(nvmlDeviceGetSerial, "serial")

/* ---- one value each ---- */

#define UINT(function, key) \
    int function(Device *device, unsigned *value) { BEGIN(device); return get_uint(device, key, value); }
UINT(nvmlDeviceGetPowerUsage, "power_mw")
UINT(nvmlDeviceGetEnforcedPowerLimit, "power_limit_mw")
UINT(nvmlDeviceGetPowerManagementDefaultLimit, "power_default_mw")
UINT(nvmlDeviceGetPerformanceState, "pstate")
UINT(nvmlDeviceGetCurrPcieLinkGeneration, "pcie.generation")
UINT(nvmlDeviceGetMaxPcieLinkGeneration, "pcie.generation_max")
UINT(nvmlDeviceGetCurrPcieLinkWidth, "pcie.width")
UINT(nvmlDeviceGetMaxPcieLinkWidth, "pcie.width_max")
UINT(nvmlDeviceGetPcieReplayCounter, "pcie.replays")
UINT(nvmlDeviceGetRetiredPagesPendingStatus, "retired.pending")
UINT(nvmlDeviceGetMaxMigDeviceCount, "mig.max")

#define NUMBERED(function, format) \
    int function(Device *device, unsigned of, unsigned *value) { \
        char key[NAME]; \
        BEGIN(device); \
        snprintf(key, sizeof key, format, of); \
        return get_uint(device, key, value); \
    }
NUMBERED(nvmlDeviceGetTemperatureThreshold, "temperature.threshold.%u")
NUMBERED(nvmlDeviceGetClockInfo, "clock.%u")
NUMBERED(nvmlDeviceGetMaxClockInfo, "clock_max.%u")
NUMBERED(nvmlDeviceGetNvLinkState, "nvlink.%u.active")

int nvmlDeviceGetTemperature(Device *device, unsigned sensor, unsigned *value) {
    (void)sensor;
    BEGIN(device);
    return get_uint(device, "temperature", value);
}

#define REASONS(function) \
    int function(Device *device, u64 *value) { BEGIN(device); return number(device, "throttle_reasons", value); }
REASONS(nvmlDeviceGetCurrentClocksThrottleReasons)
REASONS(nvmlDeviceGetCurrentClocksEventReasons)

typedef struct { unsigned gpu, memory; } Rates;
typedef struct { u64 reference, violation; } Violation;
typedef struct { u64 total, free, used; } Memory;
typedef struct { unsigned version; u64 total, reserved, free, used; } Memory2;

int nvmlDeviceGetUtilizationRates(Device *device, Rates *rates) {
    BEGIN(device);
    rates->memory = 0;
    return get_uint(device, "utilisation", &rates->gpu);
}

int nvmlDeviceGetViolationStatus(Device *device, unsigned policy, Violation *time) {
    char key[NAME];
    BEGIN(device);
    time->reference = 0;
    snprintf(key, sizeof key, "violation_ns.%u", policy);
    return number(device, key, &time->violation);
}

/* ---- memory ---- */

int nvmlDeviceGetMemoryInfo(Device *device, Memory *memory) {
    BEGIN(device);
    u64 reserved = 0;
    number(device, "memory.reserved", &reserved);
    int result = number(device, "memory.total", &memory->total) + number(device, "memory.used", &memory->used);
    memory->used += reserved;
    memory->free = memory->total - memory->used;
    return result ? NOT_SUPPORTED : SUCCESS;
}

int nvmlDeviceGetMemoryInfo_v2(Device *device, Memory2 *memory) {
    BEGIN(device);
    memory->reserved = 0;
    number(device, "memory.reserved", &memory->reserved);
    int result = number(device, "memory.total", &memory->total) + number(device, "memory.used", &memory->used);
    memory->free = memory->total - memory->used - memory->reserved;
    return result ? NOT_SUPPORTED : SUCCESS;
}

static const char *kind_of[] = {"corrected", "uncorrected"}, *life_of[] = {"volatile", "aggregate"};

int nvmlDeviceGetTotalEccErrors(Device *device, unsigned kind, unsigned life, u64 *count) {
    char key[NAME];
    BEGIN(device);
    snprintf(key, sizeof key, "ecc.%s.%s", life_of[life & 1], kind_of[kind & 1]);
    return number(device, key, count);
}

int nvmlDeviceGetMemoryErrorCounter(Device *device, unsigned kind, unsigned life, unsigned place, u64 *count) {
    char key[NAME];
    BEGIN(device);
    snprintf(key, sizeof key, "ecc.%s.%s.%u", life_of[life & 1], kind_of[kind & 1], place);
    return number(device, key, count);
}

typedef struct {
    unsigned version;
    u64 aggregate_parity, aggregate_secded, aggregate_corrected, parity, secded, corrected, buckets[5];
    unsigned threshold_exceeded;
} SramStatus;

int nvmlDeviceGetSramEccErrorStatus(Device *device, SramStatus *status) {
    u64 exceeded = 0;
    BEGIN(device);
    unsigned version = status->version;
    memset(status, 0, sizeof *status);
    status->version = version;
    if (number(device, "sram.threshold_exceeded", &exceeded)) return NOT_SUPPORTED;
    status->threshold_exceeded = (unsigned)exceeded;
    number(device, "sram.aggregate.uncorrected", &status->aggregate_secded);
    number(device, "sram.volatile.uncorrected", &status->secded);
    number(device, "sram.volatile.corrected", &status->corrected);
    return SUCCESS;
}

int nvmlDeviceGetRemappedRows(Device *device, unsigned *corrected, unsigned *uncorrected, unsigned *pending, unsigned *failed) {
    BEGIN(device);
    *corrected = *uncorrected = *failed = 0;
    if (get_uint(device, "remap.pending", pending)) return NOT_SUPPORTED;
    get_uint(device, "remap.corrected", corrected);
    get_uint(device, "remap.uncorrected", uncorrected);
    get_uint(device, "remap.failed", failed);
    return SUCCESS;
}

int nvmlDeviceGetRowRemapperHistogram(Device *device, unsigned *banks) { /* max, high, partial, low, none */
    char value[NAME];
    BEGIN(device);
    if (!word(device, "remap.histogram", value, sizeof value)) return NOT_SUPPORTED;
    char *at = value;
    for (int each = 0; each < 5; each++, at += *at == ',') banks[each] = (unsigned)strtoul(at, &at, 10);
    return SUCCESS;
}

int nvmlDeviceGetRetiredPages(Device *device, unsigned cause, unsigned *count, u64 *addresses) {
    unsigned retired = 0;
    BEGIN(device);
    if (get_uint(device, cause ? "retired.double" : "retired.single", &retired)) return NOT_SUPPORTED;
    unsigned room = *count;
    *count = retired;
    if (retired > room) return INSUFFICIENT_SIZE;
    for (unsigned each = 0; addresses && each < retired; each++) addresses[each] = each;
    return SUCCESS;
}

/* ---- field values ---- */

typedef struct {
    unsigned id, scope;
    long long timestamp, latency;
    unsigned type;
    int result;
    union { double real; unsigned whole; u64 wide; } value;
} FieldValue;

static void field_key(const FieldValue *field, char *key, size_t size) {
    switch (field->id) {
    case 82: snprintf(key, size, "memory_temperature"); return;
    case 91: snprintf(key, size, "nvlink.count"); return;
    case 161: snprintf(key, size, "nvlink.%u.replays", field->scope); return;
    case 162: snprintf(key, size, "nvlink.%u.recoveries", field->scope); return;
    case 163: snprintf(key, size, "nvlink.%u.crc", field->scope); return;
    case 230: snprintf(key, size, "recovery_action"); return;
    default: snprintf(key, size, "field.%u.%u", field->id, field->scope);
    }
}

/* Adds a counter up over all links of a GPU whose driver gives totals. */
static int total(const Device *device, const char *counter, u64 *value) {
    char key[NAME];
    u64 links = 0, each = 0;
    if (!has(device, "nvlink.totals") || number(device, "nvlink.count", &links)) return NOT_SUPPORTED;
    *value = 0;
    for (u64 link = 0; link < links; link++, *value += each) {
        snprintf(key, sizeof key, "nvlink.%llu.%s", link, counter);
        if (number(device, key, &each)) return NOT_SUPPORTED;
    }
    return SUCCESS;
}

static int field_value(const Device *device, FieldValue *field) {
    char key[NAME];
    switch (field->id) {
    case 38: return total(device, "crc", &field->value.wide);
    case 45: field->value.wide = 0; return has(device, "nvlink.totals") ? SUCCESS : NOT_SUPPORTED;
    case 52: return total(device, "replays", &field->value.wide);
    case 59: return total(device, "recoveries", &field->value.wide);
    default: field_key(field, key, sizeof key); return number(device, key, &field->value.wide);
    }
}

int nvmlDeviceGetFieldValues(Device *device, int count, FieldValue *fields) {
    BEGIN(device);
    for (int each = 0; each < count; each++) {
        fields[each].type = 3; /* unsigned long long */
        fields[each].result = field_value(device, &fields[each]);
    }
    return SUCCESS;
}

/* ---- tenants: `processes=PID:BYTES,PID:BYTES` ---- */

typedef struct { unsigned pid; u64 memory; unsigned gpu_instance, compute_instance; } Process;

static int get_processes(Device *device, const char *key, unsigned *count, Process *processes) {
    char value[NAME];
    unsigned room = *count;
    if (!word(device, key, value, sizeof value)) return NOT_SUPPORTED;
    *count = 0;
    for (char *at = value; *at; at += *at == ',') {
        Process process = {.pid = (unsigned)strtoul(at, &at, 10), .gpu_instance = ~0u, .compute_instance = ~0u};
        process.memory = *at == ':' ? strtoull(at + 1, &at, 10) : ~0ull;
        if (processes && *count < room) processes[*count] = process;
        ++*count;
        if (*at && *at != ',') return UNKNOWN;
    }
    return *count > room ? INSUFFICIENT_SIZE : SUCCESS;
}

#define PROCESSES(function, key) \
    int function(Device *device, unsigned *count, Process *processes) { \
        BEGIN(device); \
        return get_processes(device, key, count, processes); \
    }
PROCESSES(nvmlDeviceGetComputeRunningProcesses_v3, "processes")
PROCESSES(nvmlDeviceGetGraphicsRunningProcesses_v3, "graphics_processes")

int nvmlDeviceGetMigMode(Device *device, unsigned *current, unsigned *pending) {
    BEGIN(device);
    if (get_uint(device, "mig", current)) return NOT_SUPPORTED;
    *pending = *current;
    get_uint(device, "mig.pending", pending);
    return SUCCESS;
}

int nvmlDeviceGetMigDeviceHandleByIndex(Device *device, unsigned index, Device **instance) {
    unsigned count = 0;
    BEGIN(device);
    get_uint(device, "mig.instances", &count);
    if (index >= count) return NOT_FOUND;
    *instance = device;
    return SUCCESS;
}

/* ---- fabric ---- */

typedef struct {
    unsigned version;
    unsigned char cluster[16];
    unsigned status, clique, state, health;
} FabricInfo;

int nvmlDeviceGetGpuFabricInfoV(Device *device, FabricInfo *info) {
    BEGIN(device);
    if (get_uint(device, "fabric.state", &info->state)) return NOT_SUPPORTED;
    info->status = info->health = info->clique = 0;
    get_uint(device, "fabric.status", &info->status);
    get_uint(device, "fabric.health", &info->health);
    get_uint(device, "fabric.clique", &info->clique);
    return SUCCESS;
}

/* ---- events: `xids=31,79` are all that happened; a set gives those that came after its registration ---- */

static int xids(const Device *device, unsigned *codes) {
    char value[NAME];
    int count = 0;
    if (!word(device, "xids", value, sizeof value)) return 0;
    for (char *at = value; *at && count < XIDS; at += *at == ',') {
        codes[count++] = (unsigned)strtoul(at, &at, 10);
        if (*at && *at != ',') return count;
    }
    return count;
}

int nvmlEventSetCreate(Events **set) {
    BEGIN(NULL);
    *set = calloc(1, sizeof **set);
    return *set ? SUCCESS : UNKNOWN;
}

int nvmlEventSetFree(Events *set) {
    free(set);
    return SUCCESS;
}

int nvmlDeviceGetSupportedEventTypes(Device *device, u64 *types) {
    BEGIN(device);
    *types = 0x8;
    return SUCCESS;
}

int nvmlDeviceRegisterEvents(Device *device, u64 types, Events *set) {
    unsigned codes[XIDS];
    BEGIN(device);
    if (types & ~0x8ull) return NOT_SUPPORTED;
    set->seen[set->count] = xids(device, codes);
    set->device[set->count++] = device;
    return SUCCESS;
}

typedef struct { Device *device; u64 type, data; unsigned gpu_instance, compute_instance; } EventData;

int nvmlEventSetWait_v2(Events *set, EventData *event, unsigned timeout_ms) {
    unsigned codes[XIDS];
    BEGIN(NULL);
    for (long long left = timeout_ms * 1000ll;; left -= POLL_US, usleep(POLL_US), look()) {
        for (int each = 0; each < set->count; each++) {
            if (xids(set->device[each], codes) <= set->seen[each]) continue;
            *event = (EventData){set->device[each], 0x8, codes[set->seen[each]++], ~0u, ~0u};
            return SUCCESS;
        }
        if (left <= 0) return TIMED_OUT;
    }
}
