#include "native.h"

#include <stdlib.h>
#include <string.h>

#ifdef _WIN32
#include <windows.h>
#define LQ_CALL __stdcall
#else
#include <dlfcn.h>
#define LQ_CALL
#endif

typedef void(LQ_CALL *lq_function)(void);
typedef lq_function(LQ_CALL *lq_get_proc)(void *handle, const char *name);

void *lq_open_library(void) {
#ifdef _WIN32
	HMODULE lib = LoadLibraryA("vulkan-1.dll");
	return lib ? (void *)GetProcAddress(lib, "vkGetInstanceProcAddr") : NULL;
#else
	static const char *const names[] = {
#ifdef __APPLE__
		"libvulkan.1.dylib", "libvulkan.dylib", "libMoltenVK.dylib",
#else
		"libvulkan.so.1", "libvulkan.so",
#endif
	};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		void *lib = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
		if (lib) return dlsym(lib, "vkGetInstanceProcAddr");
	}
	return NULL;
#endif
}

// Structures, by their numbers in the Vulkan registry.
enum {
	LQ_FEATURES2 = 1000059000,
	LQ_PROPERTIES2 = 1000059001,
	LQ_MEMORY_PROPERTIES2 = 1000059006,
	LQ_SUBGROUP_PROPERTIES = 1000094000,
	LQ_MAINTENANCE3_PROPERTIES = 1000168000,
	LQ_DRIVER_PROPERTIES = 1000196000,
	LQ_MEMORY_BUDGET = 1000237000,
	LQ_BUFFER_ADDRESS_INFO = 1000244001,
	LQ_MATRIX_PROPERTIES = 1000506001,
};

enum { LQ_SHADER_STAGE = 0x20 }; // VK_SHADER_STAGE_COMPUTE_BIT

typedef struct {
	uint32_t type;
	void *next;
	uint32_t value[8];
} feature;

// features are the structures by their numbers, the extension that each is of
// (NULL: the core of Vulkan 1.2), and which of its values are of use, as bits.
static const struct {
	uint32_t type;
	const char *extension;
	uint32_t used;
} features[LQ_FEATURES] = {
	[LQ_ADDRESS] = {1000257000, NULL, 1},
	[LQ_FLOAT16] = {1000082000, NULL, 1},
	[LQ_STORAGE16] = {1000083000, NULL, 1},
	[LQ_MEMORY_MODEL] = {1000211000, NULL, 1 | 2}, // cooperative matrices are defined in its terms; atomics are of device scope
	[LQ_MATRIX] = {1000506000, "VK_KHR_cooperative_matrix", 1},
	[LQ_MATRIX2] = {1000593000, "VK_NV_cooperative_matrix2", 0x7f},
	[LQ_BFLOAT16] = {1000141000, "VK_KHR_shader_bfloat16", 1 | 4}, // the type, and matrices of it
};

typedef struct {
	uint32_t type;
	void *next;
	uint64_t core[160]; // room for any of the 1.0 structures
} query2;

static void chain(void **tail, void *item) {
	((feature *)item)->next = *tail;
	*tail = item;
}

static void query_properties(lq_get_proc get, void *instance, void *physical, lq_abilities *out) {
	typedef void(LQ_CALL * fn)(void *, void *);
	fn properties2 = (fn)get(instance, "vkGetPhysicalDeviceProperties2");
	struct { uint32_t type; void *next; uint32_t size, stages, operations, quad; } subgroup = {LQ_SUBGROUP_PROPERTIES};
	struct { uint32_t type; void *next; uint32_t sets; uint64_t allocation; } maintenance = {LQ_MAINTENANCE3_PROPERTIES};
	struct { uint32_t type; void *next; uint32_t id; char name[256], info[256]; uint8_t conformance[4]; } driver = {LQ_DRIVER_PROPERTIES};
	query2 q = {LQ_PROPERTIES2};
	chain(&q.next, &subgroup);
	chain(&q.next, &maintenance);
	chain(&q.next, &driver);
	properties2(physical, &q);
	out->subgroup_size = subgroup.size;
	out->subgroup_operations = subgroup.operations;
	out->max_allocation = maintenance.allocation;
	memcpy(out->driver_name, driver.name, sizeof driver.name);
	memcpy(out->driver_info, driver.info, sizeof driver.info);
}

static void query_budget(lq_get_proc get, void *instance, void *physical, lq_abilities *out) {
	typedef void(LQ_CALL * fn)(void *, void *);
	fn memory2 = (fn)get(instance, "vkGetPhysicalDeviceMemoryProperties2");
	struct { uint32_t type; void *next; uint64_t budget[16], usage[16]; } budget = {LQ_MEMORY_BUDGET};
	query2 q = {LQ_MEMORY_PROPERTIES2};
	chain(&q.next, &budget);
	memory2(physical, &q);
	for (int i = 0; i < 16; i++)
		out->heap_budget[i] = budget.budget[i] > budget.usage[i] ? budget.budget[i] - budget.usage[i] : 0;
}

typedef struct {
	char name[256];
	uint32_t version;
} extension;

// extensions lists a device's extensions; NULL where there are none or no memory.
static extension *extensions(lq_get_proc get, void *instance, void *physical, uint32_t *count) {
	typedef int(LQ_CALL * fn)(void *, const char *, uint32_t *, extension *);
	fn enumerate = (fn)get(instance, "vkEnumerateDeviceExtensionProperties");
	*count = 0;
	if (enumerate(physical, NULL, count, NULL) != 0 || *count == 0) return NULL;
	extension *list = calloc(*count, sizeof *list);
	if (list && enumerate(physical, NULL, count, list) < 0) *count = 0;
	return list;
}

static int listed(const extension *list, uint32_t count, const char *name) {
	for (uint32_t i = 0; list && i < count; i++)
		if (strcmp(list[i].name, name) == 0) return 1;
	return 0;
}

// query_shapes finds the shapes of 16-bit matrices with float32 sums: 16x16x16
// where there is a choice.
static void query_shapes(lq_get_proc get, void *instance, void *physical, lq_abilities *out) {
	enum { half = 0, single = 1, brain = 1000141000, subgroup = 3 };
	typedef struct { uint32_t type; void *next; uint32_t m, n, k, a, b, c, result, saturating, scope; } shape;
	typedef int(LQ_CALL * fn)(void *, uint32_t *, shape *);
	fn query = (fn)get(instance, "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR");
	uint32_t count = 0;
	if (!query || query(physical, &count, NULL) != 0) return;
	shape *list = calloc(count, sizeof *list);
	for (uint32_t i = 0; list && i < count; i++) list[i].type = LQ_MATRIX_PROPERTIES;
	if (!list || query(physical, &count, list) < 0) count = 0;
	for (uint32_t i = 0; i < count; i++) {
		shape s = list[i];
		if (s.a != s.b || s.c != single || s.result != single || s.scope != subgroup || s.saturating) continue;
		lq_shape *to = s.a == half ? &out->matrix_f16 : s.a == brain ? &out->matrix_bf16 : NULL;
		int square = s.m == 16 && s.n == 16 && s.k == 16;
		if (to && (to->m == 0 || square)) *to = (lq_shape){s.m, s.n, s.k};
	}
	free(list);
}

int lq_query(void *gipa, void *instance, void *physical, lq_abilities *out) {
	typedef void(LQ_CALL * fn)(void *, void *);
	lq_get_proc get = (lq_get_proc)gipa;
	fn features2 = (fn)get(instance, "vkGetPhysicalDeviceFeatures2");
	if (!features2) return -1;
	memset(out, 0, sizeof *out);
	uint32_t count;
	extension *have = extensions(get, instance, physical, &count);
	query_properties(get, instance, physical, out);
	if (listed(have, count, "VK_EXT_memory_budget")) query_budget(get, instance, physical, out);

	feature chained[LQ_FEATURES];
	memset(chained, 0, sizeof chained);
	query2 q = {LQ_FEATURES2};
	for (int i = 0; i < LQ_FEATURES; i++) {
		chained[i].type = features[i].type;
		if (!features[i].extension || listed(have, count, features[i].extension)) chain(&q.next, &chained[i]);
	}
	free(have);
	features2(physical, &q);
	for (int i = 0; i < LQ_FEATURES; i++)
		for (int j = 0; j < 8; j++)
			if (features[i].used >> j & 1) out->features[i][j] = chained[i].value[j];
	// With the model but without its device scope atomics would not be allowed.
	if (!out->features[LQ_MEMORY_MODEL][1]) out->features[LQ_MEMORY_MODEL][0] = 0;
	if (out->features[LQ_MATRIX][0]) query_shapes(get, instance, physical, out);
	return 0;
}

int lq_compute_family(void *gipa, void *instance, void *physical) {
	struct { uint32_t flags, queues, stamp_bits, granularity[3]; } families[64];
	typedef void(LQ_CALL * fn)(void *, uint32_t *, void *);
	fn query = (fn)((lq_get_proc)gipa)(instance, "vkGetPhysicalDeviceQueueFamilyProperties");
	uint32_t count = sizeof families / sizeof *families;
	query(physical, &count, families);
	int found = -1;
	for (uint32_t i = 0; i < count; i++) {
		enum { graphics = 1, compute = 2 };
		if (!(families[i].flags & compute)) continue;
		if (!(families[i].flags & graphics)) return (int)i;
		if (found < 0) found = (int)i;
	}
	return found;
}

int lq_create_device(void *gipa, void *instance, void *physical, uint32_t family, const lq_abilities *have, void **out) {
	typedef int(LQ_CALL * fn)(void *, const void *, const void *, void **);
	fn create = (fn)((lq_get_proc)gipa)(instance, "vkCreateDevice");
	feature asked[LQ_FEATURES];
	const char *names[LQ_FEATURES];
	void *next = NULL;
	uint32_t extensions = 0;
	for (int i = 0; i < LQ_FEATURES; i++) {
		asked[i].type = features[i].type;
		memcpy(asked[i].value, have->features[i], sizeof asked[i].value);
		if (!have->features[i][0]) continue;
		chain(&next, &asked[i]);
		if (features[i].extension) names[extensions++] = features[i].extension;
	}
	float priority = 1;
	struct { uint32_t type; const void *next; uint32_t flags, family, count; const float *priorities; } queue = {2, NULL, 0, family, 1, &priority};
	struct {
		uint32_t type; const void *next; uint32_t flags, queues; const void *queue;
		uint32_t layers; const void *layer; uint32_t extensions; const char *const *extension; const void *features;
	} info = {3, next, 0, 1, &queue, 0, NULL, extensions, names, NULL};
	return create(physical, &info, NULL, out);
}

// device_proc finds an entry point of a device.
static lq_function device_proc(void *gipa, void *instance, void *device, const char *name) {
	lq_get_proc get = (lq_get_proc)((lq_get_proc)gipa)(instance, "vkGetDeviceProcAddr");
	return get(device, name);
}

int lq_create_layout(void *gipa, void *instance, void *device, uint32_t push_bytes, uint64_t *out) {
	typedef int(LQ_CALL * fn)(void *, const void *, const void *, uint64_t *);
	fn create = (fn)device_proc(gipa, instance, device, "vkCreatePipelineLayout");
	struct { uint32_t stages, offset, size; } range = {LQ_SHADER_STAGE, 0, push_bytes};
	struct { uint32_t type; const void *next; uint32_t flags, sets; const void *set; uint32_t ranges; const void *range; } info =
		{30, NULL, 0, 0, NULL, 1, &range};
	return create(device, &info, NULL, out);
}

static int create_module(void *gipa, void *instance, void *device, const void *spirv, size_t size, uint64_t *out) {
	typedef int(LQ_CALL * fn)(void *, const void *, const void *, uint64_t *);
	fn create = (fn)device_proc(gipa, instance, device, "vkCreateShaderModule");
	struct { uint32_t type; const void *next; uint32_t flags; size_t size; const void *code; } info = {16, NULL, 0, size, spirv};
	return create(device, &info, NULL, out);
}

int lq_create_pipeline(void *gipa, void *instance, void *device, uint64_t cache, uint64_t layout,
                       const void *spirv, size_t size, const lq_constant *constants, uint32_t count, uint64_t *out) {
	typedef int(LQ_CALL * create_fn)(void *, uint64_t, uint32_t, const void *, const void *, uint64_t *);
	typedef void(LQ_CALL * destroy_fn)(void *, uint64_t, const void *);
	uint64_t module;
	int r = create_module(gipa, instance, device, spirv, size, &module);
	if (r != 0) return r;
	struct { uint32_t id, offset; size_t size; } entries[LQ_MAX_CONSTANTS];
	uint32_t values[LQ_MAX_CONSTANTS];
	for (uint32_t i = 0; i < count; i++) {
		entries[i].id = constants[i].id;
		entries[i].offset = 4 * i;
		entries[i].size = 4;
		values[i] = constants[i].value;
	}
	struct { uint32_t count; const void *entries; size_t size; const void *values; } special = {count, entries, 4 * (size_t)count, values};
	struct {
		uint32_t type; const void *next; uint32_t flags;
		struct { uint32_t type; const void *next; uint32_t flags, stage; uint64_t module; const char *name; const void *special; } stage;
		uint64_t layout, base; int32_t base_index;
	} info = {29, NULL, 0, {18, NULL, 0, LQ_SHADER_STAGE, module, "main", &special}, layout, 0, -1};
	create_fn create = (create_fn)device_proc(gipa, instance, device, "vkCreateComputePipelines");
	r = create(device, cache, 1, &info, NULL, out);
	((destroy_fn)device_proc(gipa, instance, device, "vkDestroyShaderModule"))(device, module, NULL);
	return r;
}

const char *lq_load_calls(void *gipa, void *instance, void *device, lq_calls *out) {
	lq_get_proc instance_proc = (lq_get_proc)gipa;
	lq_get_proc get = (lq_get_proc)instance_proc(instance, "vkGetDeviceProcAddr");
	if (!get) return "vkGetDeviceProcAddr";
	struct { void **to; const char *name; } table[] = {
		{&out->begin, "vkBeginCommandBuffer"}, {&out->end, "vkEndCommandBuffer"},
		{&out->bind, "vkCmdBindPipeline"}, {&out->push, "vkCmdPushConstants"},
		{&out->dispatch, "vkCmdDispatch"}, {&out->barrier, "vkCmdPipelineBarrier"},
		{&out->copy, "vkCmdCopyBuffer"}, {&out->fill, "vkCmdFillBuffer"},
		{&out->stamp, "vkCmdWriteTimestamp"}, {&out->reset_queries, "vkCmdResetQueryPool"},
		{&out->submit, "vkQueueSubmit"}, {&out->wait, "vkWaitForFences"},
		{&out->reset_fences, "vkResetFences"}, {&out->address, "vkGetBufferDeviceAddress"},
	};
	for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
		*table[i].to = (void *)get(device, table[i].name);
		if (!*table[i].to) return table[i].name;
	}
	return NULL;
}

uint64_t lq_buffer_address(const lq_calls *calls, void *device, uint64_t buffer) {
	struct { uint32_t type; const void *next; uint64_t buffer; } info = {LQ_BUFFER_ADDRESS_INFO, NULL, buffer};
	return ((uint64_t(LQ_CALL *)(void *, const void *))calls->address)(device, &info);
}
