// Replays a recorded step: one call from Go records hundreds of commands.
#include "native.h"

#ifdef _WIN32
#define LQ_CALL __stdcall
#else
#define LQ_CALL
#endif

enum {
	LQ_STAGE_TOP = 0x1,
	LQ_STAGE_BOTTOM = 0x2000,
	LQ_STAGE_COMPUTE = 0x800,
	LQ_STAGE_TRANSFER = 0x1000,
	LQ_STAGE_HOST = 0x4000,
	LQ_ACCESS_SHADER_READ = 0x20,
	LQ_ACCESS_SHADER_WRITE = 0x40,
	LQ_ACCESS_TRANSFER_READ = 0x800,
	LQ_ACCESS_TRANSFER_WRITE = 0x1000,
	LQ_ACCESS_HOST_READ = 0x2000,
	LQ_BIND_COMPUTE = 1,
	LQ_SHADER_COMPUTE = 0x20,
};

typedef struct {
	uint32_t type;
	const void *next;
	uint32_t src, dst;
} memory_barrier;

static void barrier(const lq_calls *c, void *cb, uint32_t to_stage, uint32_t to_access) {
	typedef void(LQ_CALL * fn)(void *, uint32_t, uint32_t, uint32_t, uint32_t, const memory_barrier *, uint32_t, const void *, uint32_t, const void *);
	memory_barrier b = {46, 0, LQ_ACCESS_SHADER_WRITE | LQ_ACCESS_TRANSFER_WRITE, to_access};
	((fn)c->barrier)(cb, LQ_STAGE_COMPUTE | LQ_STAGE_TRANSFER, to_stage, 0, 1, &b, 0, 0, 0, 0);
}

// device_barrier orders all that comes behind all that went before.
static void device_barrier(const lq_calls *c, void *cb) {
	barrier(c, cb, LQ_STAGE_COMPUTE | LQ_STAGE_TRANSFER,
	        LQ_ACCESS_SHADER_READ | LQ_ACCESS_SHADER_WRITE | LQ_ACCESS_TRANSFER_READ | LQ_ACCESS_TRANSFER_WRITE);
}

static void run_word(const lq_calls *c, void *cb, uint64_t layout, uint64_t pool, uint32_t op, const uint64_t *w) {
	switch (op) {
	case LQ_BIND:
		((void(LQ_CALL *)(void *, uint32_t, uint64_t))c->bind)(cb, LQ_BIND_COMPUTE, w[0]);
		break;
	case LQ_PUSH:
		((void(LQ_CALL *)(void *, uint64_t, uint32_t, uint32_t, uint32_t, const void *))c->push)(cb, layout, LQ_SHADER_COMPUTE, 0, (uint32_t)w[0], w + 1);
		break;
	case LQ_DISPATCH:
		((void(LQ_CALL *)(void *, uint32_t, uint32_t, uint32_t))c->dispatch)(cb, (uint32_t)w[0], (uint32_t)w[1], (uint32_t)w[2]);
		break;
	case LQ_BARRIER:
		device_barrier(c, cb);
		break;
	case LQ_COPY: { // source, destination, then the VkBufferCopy
		((void(LQ_CALL *)(void *, uint64_t, uint64_t, uint32_t, const void *))c->copy)(cb, w[0], w[1], 1, w + 2);
		break;
	}
	case LQ_FILL:
		((void(LQ_CALL *)(void *, uint64_t, uint64_t, uint64_t, uint32_t))c->fill)(cb, w[0], w[1], w[2], (uint32_t)w[3]);
		break;
	case LQ_STAMP:
		((void(LQ_CALL *)(void *, uint32_t, uint64_t, uint32_t))c->stamp)(cb, LQ_STAGE_BOTTOM, pool, (uint32_t)w[0]);
		break;
	}
}

int lq_record(const lq_calls *c, void *cb, uint64_t layout, uint64_t pool, uint32_t queries, const uint64_t *words, size_t count) {
	struct { uint32_t type; const void *next; uint32_t flags; const void *inherit; } begin = {42, 0, 0, 0};
	int r = ((int(LQ_CALL *)(void *, const void *))c->begin)(cb, &begin);
	if (r != 0) return r;
	if (queries > 0)
		((void(LQ_CALL *)(void *, uint64_t, uint32_t, uint32_t))c->reset_queries)(cb, pool, 0, queries);
	device_barrier(c, cb); // against what was submitted before: order alone makes no writes visible
	for (size_t i = 0; i < count;) { // a header word: operation below, payload words above
		uint32_t op = (uint32_t)words[i], n = (uint32_t)(words[i] >> 32);
		run_word(c, cb, layout, pool, op, words + i + 1);
		i += 1 + n;
	}
	barrier(c, cb, LQ_STAGE_HOST, LQ_ACCESS_HOST_READ); // results are read through mapped memory
	return ((int(LQ_CALL *)(void *))c->end)(cb);
}

int lq_submit(const lq_calls *c, void *device, void *queue, void *cb, uint64_t fence) {
	struct {
		uint32_t type; const void *next;
		uint32_t waits; const void *wait; const void *stages;
		uint32_t buffers; void *const *buffer;
		uint32_t signals; const void *signal;
	} info = {4, 0, 0, 0, 0, 1, &cb, 0, 0};
	int r = ((int(LQ_CALL *)(void *, uint32_t, const uint64_t *))c->reset_fences)(device, 1, &fence);
	if (r == 0) r = ((int(LQ_CALL *)(void *, uint32_t, const void *, uint64_t))c->submit)(queue, 1, &info, fence);
	return r;
}

int lq_wait(const lq_calls *c, void *device, uint64_t fence) {
	return ((int(LQ_CALL *)(void *, uint32_t, const uint64_t *, uint32_t, uint64_t))c->wait)(device, 1, &fence, 1, UINT64_MAX);
}
