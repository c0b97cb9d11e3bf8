/* featherweight's sparse runtime for C: opens a `.fw` file and runs it.
 *
 *   fw_network* network = NULL;
 *   if (fw_open_path("model.fw", 0, NULL, &network) != FW_OK) { puts(fw_error(network)); fw_close(network); return 1; }
 *
 * A network runs one call at a time: calls from several threads wait for each other. Threads that are to run at the
 * same time take a clone each (fw_clone). Arrays are in C order. Nothing here throws, and nothing writes to standard
 * output.
 */
#ifndef FEATHERWEIGHT_H
#define FEATHERWEIGHT_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define FW_API __declspec(dllexport)
#elif defined(__GNUC__)
#define FW_API __attribute__((visibility("default")))
#else
#define FW_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* What went wrong. fw_error has the words. */
typedef enum {
  FW_OK = 0,
  FW_FILE = 1,        /* not a valid .fw file */
  FW_GRAPH = 2,       /* its graph is not valid */
  FW_SHAPE = 3,       /* these shapes do not fit the network */
  FW_ARGUMENT = 4,    /* a null pointer, an index out of range, a number of threads below 0 */
  FW_UNSUPPORTED = 5, /* valid, but not to be run here: an instruction set, a combination of attributes */
  FW_MEMORY = 6,      /* out of memory */
  FW_IO = 7           /* a file that cannot be read */
} fw_status;

typedef enum { FW_FLOAT32 = 0, FW_INT64 = 1, FW_INT32 = 2, FW_UINT8 = 3, FW_BOOL = 4 } fw_dtype;

#define FW_VERSION "0.1.0"  /* of this header, and of the library that comes with it */
#define FW_FORMAT_VERSION 1 /* of the .fw files that it reads */

#define FW_MAX_RANK 8
#define FW_UNKNOWN (-1) /* a size that is known when arrays come */

typedef struct {
  int32_t rank;
  int64_t sizes[FW_MAX_RANK]; /* the first `rank` of them; the others are 0 */
} fw_shape;

typedef struct {
  const char* name; /* lives as long as the network */
  fw_dtype dtype;
  int32_t has_shape; /* 0: nothing is known of an output's shape before arrays come */
  fw_shape shape;
} fw_value;

typedef struct fw_network fw_network;

/* Of the library that is linked: what FW_VERSION and FW_FORMAT_VERSION were when it was built. */
FW_API const char* fw_version(void);
FW_API int32_t fw_format_version(void);

/* Opens a file, or the bytes of one (which are copied). `threads`: 0 is as many as there are processors. `isa`: the
 * instruction set, "portable", "avx2", "avx512" or "neon"; NULL is the best there is, or FEATHERWEIGHT_ISA.
 * *network is set even where the status is not FW_OK (except where out of memory: it is NULL), so that fw_error can
 * tell why; close it in any case. */
FW_API fw_status fw_open_path(const char* path, int32_t threads, const char* isa, fw_network** network);
FW_API fw_status fw_open_memory(const void* bytes, size_t size, int32_t threads, const char* isa, fw_network** network);
/* Another user of a network: with memory and threads of its own, so that both run at the same time, and with the same
 * instruction set; the file's bytes and the packed weights are shared. `threads`: 0 is as many as `network` has.
 * *clone is set as fw_open_path sets *network; close each, in any order. Others may run `network` meanwhile. */
FW_API fw_status fw_clone(const fw_network* network, int32_t threads, fw_network** clone);
FW_API void fw_close(fw_network* network); /* NULL is fine; no other thread uses it any more */

/* Of the last call on this network; "" where it went well. Lives until this thread calls fw_error again. */
FW_API const char* fw_error(const fw_network* network);

FW_API int32_t fw_input_count(const fw_network* network);
FW_API int32_t fw_output_count(const fw_network* network);
FW_API fw_status fw_input(fw_network* network, int32_t index, fw_value* value);
FW_API fw_status fw_output(fw_network* network, int32_t index, fw_value* value);

/* The shapes of all outputs for inputs of these shapes; plans memory and packs weights, the first time. */
FW_API fw_status fw_prepare(fw_network* network, const fw_shape* input_shapes, fw_shape* output_shapes);

/* Runs the network: an array for each input, of these shapes, and one for each output, as large as fw_prepare says; an
 * output overlaps no other array. Nothing is allocated for shapes that were prepared, or run before, and are among the
 * 8 last. */
FW_API fw_status fw_run(fw_network* network, const fw_shape* input_shapes, const void* const* inputs, void* const* outputs);

#ifdef __cplusplus
}
#endif

#endif
