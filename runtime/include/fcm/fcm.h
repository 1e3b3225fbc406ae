/* The C API of the FCM runtime.
 *
 *   model   an ONNX file, read, checked and normalised            immutable, shareable between threads
 *   engine  a model made ready for one device and precision       immutable, shareable between threads
 *   context what one thread runs an engine with                   one thread at a time
 *
 * Rules
 * - Every fallible function returns NULL on success, or a status that holds a code and a message and that the caller releases.
 *   On failure no output argument is touched and nothing is left allocated.
 * - Every *_create / *_load / *_decode has a *_release, which never fails and accepts NULL. Handles may be released in any order:
 *   an engine keeps what it needs of its model, a context keeps its engine.
 * - Strings are UTF-8 and zero terminated; a returned string belongs to the handle it came from and lives as long.
 * - No exception crosses this border, nothing aborts, and there is no global state.
 * - Every call restores the caller's current CUDA device, and none uses the default stream.
 */
#ifndef FCM_FCM_H
#define FCM_FCM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FCM_VERSION_MAJOR 0
#define FCM_VERSION_MINOR 1
#define FCM_VERSION_PATCH 0
/* Grows when a caller compiled against an older header could misbehave. Checked by fcm_options_create. */
#define FCM_ABI_VERSION 1
#define FCM_MAX_RANK 8

#if defined(__GNUC__)
#define FCM_API __attribute__((visibility("default")))
#else
#define FCM_API
#endif

/* ------------------------------------------------------------------------------------------------ status */

typedef enum fcm_status_code {
  FCM_STATUS_OK = 0,
  FCM_STATUS_INVALID_ARGUMENT = 1, /* a bad option, a null pointer, a buffer that is too small */
  FCM_STATUS_BAD_INPUT = 2,        /* a bad model, image, tensor or file */
  FCM_STATUS_UNSUPPORTED = 3,      /* well formed, but cannot run; the message lists every reason */
  FCM_STATUS_DEVICE = 4,           /* no device, or a driver or library failure */
  FCM_STATUS_INTERNAL = 5,
  FCM_STATUS_OUT_OF_MEMORY = 6,
  FCM_STATUS_DEVICE_LOST = 7 /* a sticky CUDA error: this context cannot be used again */
} fcm_status_code;

typedef struct fcm_status fcm_status; /* NULL means success */

FCM_API fcm_status_code fcm_status_get_code(const fcm_status* status);
/* "" for NULL. */
FCM_API const char* fcm_status_message(const fcm_status* status);
FCM_API void fcm_status_release(fcm_status* status);

/* ------------------------------------------------------------------------------------------------ version */

/* major * 10000 + minor * 100 + patch of the library that is loaded. */
FCM_API uint32_t fcm_version(void);

/* What this build and machine offer, one "name value" a line: library, CUDA runtime, driver, cuDNN, cuBLAS, NVRTC, devices.
 * Writes at most `size` bytes including the zero and returns the length of the whole text. */
FCM_API size_t fcm_version_text(char* buffer, size_t size);

/* ------------------------------------------------------------------------------------------------ options */

typedef struct fcm_options fcm_options;

/* `abi_version` must be FCM_ABI_VERSION. */
FCM_API fcm_status* fcm_options_create(uint32_t abi_version, fcm_options** out);
FCM_API void fcm_options_release(fcm_options* options);

/* Keys and values (the default first):
 *   "device"        auto | cpu | cuda | cuda:N
 *   "precision"     auto | fp32 | fp16 | bf16          auto: FP16 on a GPU with tensor cores, else FP32
 *   "tf32"          0 | 1                              FP32 convolutions and GEMMs may use TF32 tensor cores
 *   "tune"          0 | 1                              measure modules and library algorithms on the device; cached
 *   "tune_batches"  1 | 1,8,64                        the batches that tuning measures; others run the default algorithms
 *   "fuse"          1 | 0                              CUDA: run fused modules where the planner expects them to be faster
 *   "objective"     time | gma                         what fusion makes small: predicted time, or accesses to global memory
 *   "max_batch"     0 | N                              the largest batch that fused plans are made for; 0: any
 *   "node.NAME"     nofuse | fp32 | tile:TEXT          keeps a node out of modules, computes it alone in FP32, or sets the tile of the
 *                                                      module it is in
 *   "plan"          FILE                               CUDA: run this saved plan; it must be one of the model and fit the device
 *   "kernel_cache"  1 | 0                              CUDA: 0 compiles every kernel anew and stores none
 *   "programmatic_launch"  1 | 0                       modules may start before the module ahead has ended
 *   "memory_limit"  0 | bytes                          device memory an engine, and each context, may take; 0: no limit
 *   "shape.NAME"    1x3x224x224                        fixes every dimension of input NAME (fcm_model_load)
 *   "batch"         0 | N                              what runs will use: a model of another fixed batch is rewritten for any, or refused
 *                                                      with the node that bakes it (fcm_model_load). A batch of 1 is rewritten in any case
 *                                                      where that is possible, unless "shape" is set.
 *   "log_level"     warning | trace | debug | info | error | off
 * An unknown key or value is FCM_STATUS_INVALID_ARGUMENT. */
FCM_API fcm_status* fcm_options_set(fcm_options* options, const char* key, const char* value);

typedef enum fcm_log_level { FCM_LOG_TRACE = 0, FCM_LOG_DEBUG = 1, FCM_LOG_INFO = 2, FCM_LOG_WARNING = 3, FCM_LOG_ERROR = 4 } fcm_log_level;
/* Called on the thread that makes the call and on workers that it starts; without a callback messages go to standard error. */
typedef void (*fcm_log_callback)(void* user, fcm_log_level level, const char* message);
FCM_API fcm_status* fcm_options_set_log(fcm_options* options, fcm_log_callback callback, void* user);

/* `fraction` runs from 0 to 1 within `stage`. Called while an engine is created. */
typedef void (*fcm_progress_callback)(void* user, const char* stage, double fraction);
FCM_API fcm_status* fcm_options_set_progress(fcm_options* options, fcm_progress_callback callback, void* user);

/* Device memory of engines and contexts. `allocate` returns NULL when it cannot; both are called with the engine's device current. */
typedef void* (*fcm_allocate_callback)(void* user, size_t bytes);
typedef void (*fcm_free_callback)(void* user, void* pointer);
FCM_API fcm_status* fcm_options_set_allocator(fcm_options* options, fcm_allocate_callback allocate, fcm_free_callback release, void* user);

/* ------------------------------------------------------------------------------------------------ model */

typedef struct fcm_model fcm_model;

/* `options` may be NULL. Weights in external files are looked up beside the model. */
FCM_API fcm_status* fcm_model_load(const char* path, const fcm_options* options, fcm_model** out);
/* `name` stands for the file in messages; `folder` holds external weights, or NULL to refuse them. */
FCM_API fcm_status* fcm_model_load_memory(const void* data, size_t size, const char* name, const char* folder, const fcm_options* options,
                                          fcm_model** out);
FCM_API void fcm_model_release(fcm_model* model);
/* An entry of the model's metadata_props, or NULL. */
FCM_API const char* fcm_model_metadata(const fcm_model* model, const char* key);
/* The normalised graph, a line a node. */
FCM_API const char* fcm_model_text(const fcm_model* model);

/* ------------------------------------------------------------------------------------------------ engine */

typedef struct fcm_engine fcm_engine;

typedef enum fcm_dtype {
  FCM_FLOAT32 = 0,
  FCM_FLOAT16 = 1,
  FCM_BFLOAT16 = 2,
  FCM_FLOAT64 = 3,
  FCM_INT8 = 4,
  FCM_UINT8 = 5,
  FCM_INT16 = 6,
  FCM_UINT16 = 7,
  FCM_INT32 = 8,
  FCM_UINT32 = 9,
  FCM_INT64 = 10,
  FCM_UINT64 = 11,
  FCM_BOOL = 12
} fcm_dtype;

/* An input or output of the model, in the model's own dtype whatever the precision of the engine. */
typedef struct fcm_port {
  const char* name;
  fcm_dtype dtype;
  size_t rank;
  int64_t dims[FCM_MAX_RANK];       /* at batch 1 */
  int64_t batch_dims[FCM_MAX_RANK]; /* 1 where dims[i] is multiplied by the batch, else 0 */
  size_t bytes_per_batch;           /* bytes of one batch item; of the whole tensor when no dimension follows the batch */
} fcm_port;

/* `options` may be NULL. */
FCM_API fcm_status* fcm_engine_create(const fcm_model* model, const fcm_options* options, fcm_engine** out);
FCM_API void fcm_engine_release(fcm_engine* engine);
FCM_API size_t fcm_engine_input_count(const fcm_engine* engine);
FCM_API size_t fcm_engine_output_count(const fcm_engine* engine);
FCM_API fcm_status* fcm_engine_input(const fcm_engine* engine, size_t index, fcm_port* out);
FCM_API fcm_status* fcm_engine_output(const fcm_engine* engine, size_t index, fcm_port* out);
/* "device", "precision", "plan_hash", "plan" (text, a line a step), "plan_file" (the contents of a file for the option "plan"; empty on the
 * CPU), "steps" (how many a run of batch 1 takes), "softmax" ("1" when output 0 is already a softmax); NULL for an unknown key. */
FCM_API const char* fcm_engine_property(const fcm_engine* engine, const char* key);

/* Exact bytes of what the library allocates itself; the driver's own share is not included. */
typedef struct fcm_memory {
  size_t weights;     /* by the engine, on its device */
  size_t activations; /* by a context, on the device, one allocation together with workspace */
  size_t workspace;
  size_t staging; /* by a context, pinned host memory */
} fcm_memory;
/* Known before anything is allocated by a context for batches up to `max_batch`. */
FCM_API fcm_status* fcm_engine_memory(const fcm_engine* engine, int64_t max_batch, fcm_memory* out);

/* ------------------------------------------------------------------------------------------------ context */

typedef struct fcm_context fcm_context;

typedef enum fcm_space { FCM_HOST = 0, FCM_DEVICE = 1 } fcm_space;
typedef enum fcm_format {
  FCM_AS_MODEL = 0, /* the port's dtype and shape, dense and row-major */
  FCM_NHWC_U8 = 1   /* uint8 pixels [N,H,W,C] for a float image port; the library computes (x - mean[c]) / std[c] */
} fcm_format;

typedef struct fcm_input {
  const void* data;
  size_t bytes; /* checked against what the batch needs */
  fcm_space space;
  fcm_format format;
  float mean[4]; /* FCM_NHWC_U8 only, in pixel units */
  float std[4];
} fcm_input;

typedef struct fcm_output {
  void* data;
  size_t bytes;
  fcm_space space;
} fcm_output;

/* Contexts of an engine may run at the same time. Where they do, create them all before the first run: what a context prepares while it is
 * the only one is made for one run at a time. */
FCM_API fcm_status* fcm_context_create(const fcm_engine* engine, int64_t max_batch, fcm_context** out);
FCM_API void fcm_context_release(fcm_context* context);
/* Makes everything ready for this batch (1 <= batch <= max_batch): a later run of it allocates nothing. */
FCM_API fcm_status* fcm_context_prepare(fcm_context* context, int64_t batch);
/* Runs `batch` items. `inputs` and `outputs` are in port order. `stream`: a cudaStream_t to order with device buffers, or NULL. Returns
 * after completion when any buffer is in host memory or `stream` is NULL; otherwise the work is enqueued on `stream`, which must live
 * until it has completed. */
FCM_API fcm_status* fcm_context_run(fcm_context* context, int64_t batch, const fcm_input* inputs, size_t input_count,
                                    const fcm_output* outputs, size_t output_count, void* stream);

typedef struct fcm_times {
  double upload_us;
  double compute_us;
  double download_us;
} fcm_times;
/* Off by default: measuring puts events around the parts of a run. */
FCM_API fcm_status* fcm_context_enable_timing(fcm_context* context, int on);
/* Of the last completed run. */
FCM_API fcm_status* fcm_context_times(const fcm_context* context, fcm_times* out);

/* A step of the engine's plan: an operator, a fused module or a conversion. Texts live as long as the callback that is given them. */
typedef struct fcm_step {
  size_t index;
  size_t count;        /* of all steps */
  const char* name;    /* of the node in the model; of a module, its last node */
  const char* kind;    /* "Conv", "PWDWPW", "convert" */
  const char* text;    /* the operator with its attributes; a module's spec and tile */
  double bytes;        /* operands, weights and results, each once */
  double predicted_us; /* by the planner's cost model; this and the next two are 0 where none chose the step */
  double predicted_l2_bytes;
  double predicted_dram_bytes;
} fcm_step;
typedef void (*fcm_step_callback)(void* user, const fcm_step* step);
/* For profilers: a run whose steps are enqueued one by one on a stream of the context's own, as plain launches that do not overlap and
 * without a captured graph, so that it is slower than fcm_context_run. `before` is called on this thread before each step, and with NULL
 * after the last. Buffers are as in fcm_context_run; returns after completion. */
FCM_API fcm_status* fcm_context_trace(fcm_context* context, int64_t batch, const fcm_input* inputs, size_t input_count,
                                      const fcm_output* outputs, size_t output_count, fcm_step_callback before, void* user);

/* One step of the plan, looked at on its own. Pointers are valid during the callback. */
typedef struct fcm_step_check {
  size_t step;  /* position */
  size_t steps; /* of the plan */
  const char* name;
  const char* what; /* the operator, or the fused module and its tile */
  const char* const* nodes;
  size_t node_count; /* nodes of the model that it covers */
  size_t count;      /* elements that it writes */
  size_t nonfinite;  /* of them, infinities and NaN */
  double max_abs;    /* largest error against the CPU reference */
  double scale;      /* largest value of the reference */
  double tolerance;  /* largest error accepted, as a share of scale */
  int differs;
} fcm_step_check;
/* Returns 0 to stop. */
typedef int (*fcm_step_check_callback)(void* user, const fcm_step_check* check);

/* Runs steps first..last of the plan (clipped to it) one by one, each on inputs that the CPU reference computed, and compares what each
 * writes with the reference. `inputs` in host memory. Slow, and takes host memory for every value of the model. CUDA engines only. */
FCM_API fcm_status* fcm_context_check_steps(fcm_context* context, int64_t batch, const fcm_input* inputs, size_t input_count, size_t first,
                                            size_t last, fcm_step_check_callback callback, void* user);
/* Runs the steps one by one on `inputs` (host memory) and calls back for the first that writes an infinity or NaN, if there is one. */
FCM_API fcm_status* fcm_context_find_nonfinite(fcm_context* context, int64_t batch, const fcm_input* inputs, size_t input_count,
                                               fcm_step_check_callback callback, void* user);

/* ------------------------------------------------------------------------------------------------ images */

typedef struct fcm_image fcm_image; /* RGB, 8 bits, upright (EXIF orientation applied) */

FCM_API fcm_status* fcm_image_load(const char* path, fcm_image** out);
FCM_API fcm_status* fcm_image_decode(const void* data, size_t size, const char* name, fcm_image** out);
FCM_API void fcm_image_release(fcm_image* image);
FCM_API size_t fcm_image_width(const fcm_image* image);
FCM_API size_t fcm_image_height(const fcm_image* image);
/* [height, width, 3], dense. */
FCM_API const uint8_t* fcm_image_pixels(const fcm_image* image);

/* How an image becomes a model input: resize the short side, crop the centre, normalise. */
typedef struct fcm_preprocess fcm_preprocess;

/* From the model's metadata ("fcm.preprocess"), else MODEL.json beside its file, else the preset "imagenet". `model` may be NULL. */
FCM_API fcm_status* fcm_preprocess_create(const fcm_model* model, fcm_preprocess** out);
FCM_API void fcm_preprocess_release(fcm_preprocess* preprocess);
/* "preset" (imagenet, timm, inception, lite, clip, unit, raw), "resize", "crop" (pixels), "mean", "std" (three numbers separated by
 * commas), "range" (255 or 1: the unit of mean and std), "interpolation" (bilinear, bicubic, lanczos). */
FCM_API fcm_status* fcm_preprocess_set(fcm_preprocess* preprocess, const char* key, const char* value);
/* Where the settings came from and what they are, one line. */
FCM_API const char* fcm_preprocess_text(const fcm_preprocess* preprocess);

typedef enum fcm_layout { FCM_NCHW = 0, FCM_NHWC = 1 } fcm_layout;
/* Writes float32 [3,height,width] or [height,width,3], normalised. `bytes` must be exactly width * height * 12. */
FCM_API fcm_status* fcm_preprocess_apply(const fcm_preprocess* preprocess, const fcm_image* image, size_t width, size_t height,
                                         fcm_layout layout, float* out, size_t bytes);
/* Resizes and crops only: uint8 [height,width,3] for FCM_NHWC_U8, and the mean and std (pixel units) that go with it. */
FCM_API fcm_status* fcm_preprocess_apply_u8(const fcm_preprocess* preprocess, const fcm_image* image, size_t width, size_t height,
                                            uint8_t* out, size_t bytes, float mean[3], float std[3]);

/* ------------------------------------------------------------------------------------------------ tensors and labels */

typedef struct fcm_tensor fcm_tensor; /* dense, row-major, host memory */

/* Reads a NumPy .npy file. */
FCM_API fcm_status* fcm_tensor_load(const char* path, fcm_tensor** out);
/* Zero-filled. */
FCM_API fcm_status* fcm_tensor_create(fcm_dtype dtype, const int64_t* dims, size_t rank, fcm_tensor** out);
FCM_API void fcm_tensor_release(fcm_tensor* tensor);
/* Writes a .npy file: atomically, nothing half-written on failure. */
FCM_API fcm_status* fcm_tensor_save(const fcm_tensor* tensor, const char* path);
FCM_API fcm_dtype fcm_tensor_dtype(const fcm_tensor* tensor);
FCM_API size_t fcm_tensor_rank(const fcm_tensor* tensor);
FCM_API const int64_t* fcm_tensor_dims(const fcm_tensor* tensor);
FCM_API size_t fcm_tensor_bytes(const fcm_tensor* tensor);
FCM_API void* fcm_tensor_data(fcm_tensor* tensor);
FCM_API const void* fcm_tensor_const_data(const fcm_tensor* tensor);

typedef struct fcm_labels fcm_labels;

/* One a line: "n01440764 tench" (the WordNet id is dropped) or plain text. */
FCM_API fcm_status* fcm_labels_load(const char* path, fcm_labels** out);
/* From the model's metadata ("fcm.labels"); *out is NULL when it has none. */
FCM_API fcm_status* fcm_labels_from_model(const fcm_model* model, fcm_labels** out);
FCM_API void fcm_labels_release(fcm_labels* labels);
FCM_API size_t fcm_labels_count(const fcm_labels* labels);
/* NULL beyond the last. */
FCM_API const char* fcm_labels_get(const fcm_labels* labels, size_t index);

#ifdef __cplusplus
}
#endif

#endif /* FCM_FCM_H */
