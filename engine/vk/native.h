// What the Go binding's Vulkan 1.1 headers lack: a loader that finds the
// runtime library by its real names, newer feature and property structures,
// device addresses, and a loop that replays a recorded step.
#ifndef LOQUETIER_NATIVE_H
#define LOQUETIER_NATIVE_H

#include <stddef.h>
#include <stdint.h>

// The optional feature structures that are looked at and asked for; features
// of native.c describes them in this order.
enum { LQ_ADDRESS, LQ_FLOAT16, LQ_STORAGE16, LQ_MEMORY_MODEL, LQ_MATRIX, LQ_MATRIX2, LQ_BFLOAT16, LQ_FEATURES };

// A shape of a subgroup's cooperative matrices: A is [m, k], B [k, n].
typedef struct {
	uint32_t m, n, k;
} lq_shape;

// A physical device's abilities, gathered from several property and feature structures.
typedef struct {
	uint32_t features[LQ_FEATURES][8]; // what of each structure is there and of use
	lq_shape matrix_f16, matrix_bf16;  // with float32 sums; all 0 where there is none
	uint32_t subgroup_size;
	uint32_t subgroup_operations;
	uint64_t max_allocation;
	uint64_t heap_budget[16]; // 0 where the driver does not tell
	char driver_name[256];
	char driver_info[256];
} lq_abilities;

// lq_open_library returns vkGetInstanceProcAddr of the first library that
// opens, or NULL.
void *lq_open_library(void);

// The calls below that fill or read arrays are made here and not through the
// binding: it frees its copies of arrays when the garbage collector next runs,
// even while the driver still uses them.

// lq_query fills out for a physical device; returns 0, or -1 where the
// instance lacks the Vulkan 1.1 queries.
int lq_query(void *get_instance_proc_addr, void *instance, void *physical, lq_abilities *out);

// lq_compute_family returns the queue family to compute on, or -1. One without
// graphics is preferred: on desktop GPUs it runs beside the desktop's own work.
int lq_compute_family(void *get_instance_proc_addr, void *instance, void *physical);

// Each returns a VkResult. A device is created with all features it has of
// those above, and their extensions.
int lq_create_device(void *get_instance_proc_addr, void *instance, void *physical, uint32_t queue_family, const lq_abilities *have, void **out);
int lq_create_layout(void *get_instance_proc_addr, void *instance, void *device, uint32_t push_bytes, uint64_t *out);

enum { LQ_MAX_CONSTANTS = 16 };

// A specialization constant.
typedef struct {
	uint32_t id, value;
} lq_constant;

int lq_create_pipeline(void *get_instance_proc_addr, void *instance, void *device, uint64_t cache, uint64_t layout,
                       const void *spirv, size_t size, const lq_constant *constants, uint32_t count, uint64_t *out);

// The device-level entry points used in every step.
typedef struct {
	void *begin, *end, *bind, *push, *dispatch, *barrier, *copy, *fill, *stamp, *reset_queries;
	void *submit, *wait, *reset_fences, *address;
} lq_calls;

// lq_load_calls returns NULL, or the name of the entry point that is missing.
const char *lq_load_calls(void *get_instance_proc_addr, void *instance, void *device, lq_calls *out);

uint64_t lq_buffer_address(const lq_calls *calls, void *device, uint64_t buffer);

enum { LQ_BIND = 1, LQ_PUSH, LQ_DISPATCH, LQ_BARRIER, LQ_COPY, LQ_FILL, LQ_STAMP };

// lq_record records a command list (see recorder.go for its form) into a
// command buffer. Returns a VkResult.
int lq_record(const lq_calls *calls, void *command_buffer, uint64_t layout, uint64_t query_pool, uint32_t queries,
              const uint64_t *words, size_t count);

// lq_submit submits a recorded command buffer, which signals the fence when it
// has ended; lq_wait waits for that. Each returns a VkResult.
int lq_submit(const lq_calls *calls, void *device, void *queue, void *command_buffer, uint64_t fence);
int lq_wait(const lq_calls *calls, void *device, uint64_t fence);

#endif
