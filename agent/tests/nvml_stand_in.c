/*
 * Answers a few NVML calls as nvml.h describes them, so that the agent's mapping can be tested on a machine without a GPU. It says nothing
 * about a real driver.
 */
#include <stddef.h>
#include <string.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, GPU_IS_LOST = 15 };

struct device {
	int kind; /* 0 card, 1 lost card, 2 instance */
};

struct memory {
	unsigned int version;
	unsigned long long total, reserved, free, used;
};

struct process {
	unsigned int pid;
	unsigned long long memory;
	unsigned int gpu_instance, compute_instance;
};

static struct device card = { 0 }, lost = { 1 }, instance = { 2 };

static int text(char *out, unsigned int size, const char *value)
{
	if (strlen(value) + 1 > size)
		return INSUFFICIENT_SIZE;
	strcpy(out, value);
	return SUCCESS;
}

static int list(unsigned int *count, struct process *out, const struct process *all, unsigned int size)
{
	if (out == NULL || *count < size) {
		*count = size;
		return size ? INSUFFICIENT_SIZE : SUCCESS;
	}
	memcpy(out, all, size * sizeof(*all));
	*count = size;
	return SUCCESS;
}

int nvmlInit_v2(void)
{
	return SUCCESS;
}

int nvmlShutdown(void)
{
	return SUCCESS;
}

int nvmlSystemGetDriverVersion(char *out, unsigned int size)
{
	return text(out, size, "580.1");
}

int nvmlDeviceGetCount_v2(unsigned int *count)
{
	*count = 2;
	return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, struct device **out)
{
	*out = index == 0 ? &card : &lost;
	return SUCCESS;
}

int nvmlDeviceGetMemoryInfo_v2(struct device *device, struct memory *out)
{
	if (device->kind == 1)
		return GPU_IS_LOST;
	out->total = 80ULL << 30;
	out->used = 20ULL << 30;
	out->free = 60ULL << 30;
	out->reserved = 0;
	return SUCCESS;
}

int nvmlDeviceGetUUID(struct device *device, char *out, unsigned int size)
{
	return text(out, size, device->kind == 2 ? "MIG-a" : "GPU-5b1f");
}

int nvmlDeviceGetName(struct device *device, char *out, unsigned int size)
{
	(void)device;
	return text(out, size, "Stand-in H100");
}

int nvmlDeviceGetMinorNumber(struct device *device, unsigned int *out)
{
	(void)device;
	*out = 3;
	return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(struct device *device, unsigned int *out)
{
	(void)device;
	out[0] = 87;
	out[1] = 10;
	return SUCCESS;
}

int nvmlDeviceGetMigMode(struct device *device, unsigned int *current, unsigned int *pending)
{
	(void)device;
	*current = *pending = 1;
	return SUCCESS;
}

int nvmlDeviceGetMaxMigDeviceCount(struct device *device, unsigned int *count)
{
	(void)device;
	*count = 2;
	return SUCCESS;
}

int nvmlDeviceGetMigDeviceHandleByIndex(struct device *device, unsigned int index, struct device **out)
{
	(void)device;
	*out = &instance;
	return index == 1 ? SUCCESS : NOT_FOUND;
}

int nvmlDeviceGetComputeRunningProcesses_v3(struct device *device, unsigned int *count, struct process *out)
{
	static const struct process on_card[] = { { 41, 1ULL << 30, ~0u, ~0u }, { 42, ~0ULL, ~0u, ~0u } };
	static const struct process on_instance[] = { { 43, 2ULL << 30, 1, 0 } };

	return device->kind == 2 ? list(count, out, on_instance, 1) : list(count, out, on_card, 2);
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(struct device *device, unsigned int *count, struct process *out)
{
	static const struct process drawing[] = { { 41, 5, ~0u, ~0u } };

	return device->kind == 2 ? list(count, out, drawing, 0) : list(count, out, drawing, 1);
}
