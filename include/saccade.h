/*
 * The stable C interface of Saccade: a policy from its checkpoint to chunks of actions.
 *
 * Names and units are those of saccade/policy.h. Only what is declared here is exported by
 * libsaccade.so.
 *
 * Failure. A function that can fail returns a saccade_status. Unless that is SACCADE_OK,
 * saccade_error_message() is one sentence about it, and nothing was written to what the caller
 * passed. No C++ exception leaves the library.
 *
 * Ownership. The caller owns what it passes; the library keeps no pointer to it after a call.
 * Strings that the library returns belong to the policy and live until saccade_free(), unless their
 * comment says otherwise. Strings are UTF-8 and end with a zero byte.
 *
 * Threads. Any number of policies may be used at once, each from any thread. Calls of
 * saccade_infer() on one policy wait for each other: a policy runs one inference at a time. The
 * other functions do not wait for an inference. Nobody may use a policy while or after it is freed.
 *
 * Growth. A struct that begins with its size may gain members at its end in a later version. Set it
 * all to zero, then `size` to its sizeof, so that old programs run with new libraries, and new
 * programs with old libraries as long as they leave new members zero. A struct without a size, an
 * enumerator and a signature never change; SACCADE_ABI_VERSION, and the soname with it, would.
 */
#ifndef SACCADE_H_
#define SACCADE_H_

#include <stddef.h>
#include <stdint.h>

#define SACCADE_API __attribute__((visibility("default")))
#define SACCADE_ABI_VERSION 1

#ifdef __cplusplus
extern "C" {
#endif

typedef int32_t saccade_status;
enum {
  SACCADE_OK = 0,
  SACCADE_INVALID_ARGUMENT = 1, /* the caller, or a file it named, broke a documented contract */
  SACCADE_DEVICE_ERROR = 2,     /* the GPU or its driver is missing, too small, too old or failed */
  SACCADE_NOT_SUPPORTED = 3,    /* a valid wish that this library cannot fulfil */
  SACCADE_OUT_OF_MEMORY = 4,    /* of the host */
  SACCADE_INTERNAL_ERROR = 5    /* a bug, or a failure of the system */
};

/* "0.1.0". Lives for ever. */
SACCADE_API const char* saccade_version(void);

/* SACCADE_ABI_VERSION of the library that is loaded. */
SACCADE_API int32_t saccade_abi_version(void);

/* The sentence of the calling thread's last failure, empty if it had none. Lives until the thread's
 * next failure. */
SACCADE_API const char* saccade_error_message(void);

/* A loaded policy. */
typedef struct saccade_policy saccade_policy;

/* An option of loading, with the words of the command line's flags:
 *
 *   model              pi0, pi05                 else what the checkpoint holds
 *   mode               openpi, lerobot           else by the checkpoint's layout
 *   device             cpu, cuda, auto           auto, the default, is the GPU if one is there
 *   precision          f32, bf16, fp8            if not given, bf16 on a GPU, else f32
 *                      prefix=fp8,expert=fp8     a mix; the stages vision, prefix and expert are
 *                                                bf16 where they are not named
 *                      auto, auto:0.02           the fastest whose actions differ from the most
 *                                                exact one's by at most this (auto: 0.05) of their
 *                                                norm; loads the checkpoint several times
 *   steps              denoising steps           else the checkpoint's, else 10
 *   chunk              actions in a chunk        else the checkpoint's, else 50
 *   max_prompt_tokens  longest prompt            else the checkpoint's, else 48 or 200
 *   vision_heads       SigLIP's heads            where the tensors do not tell
 *   openpi_config      an openpi train config, such as pi05_libero
 *   statistics         path of norm_stats.json or of a LeRobot statistics file
 *   tokenizer          path of a SentencePiece model
 */
typedef struct saccade_option {
  const char* key;
  const char* value;
} saccade_option;

/* Loads a LeRobot or openpi directory, or a single safetensors file. `options` may be NULL when
 * `option_count` is 0. Takes seconds for a checkpoint of several GB. */
SACCADE_API saccade_status saccade_load(const char* checkpoint, const saccade_option* options,
                                        size_t option_count, saccade_policy** policy);

/* Frees a policy and what it owns. NULL is ignored. */
SACCADE_API void saccade_free(saccade_policy* policy);

/* What a policy is and expects. */
typedef struct saccade_info {
  size_t size;
  const char* model;     /* "pi05" */
  const char* mode;      /* "lerobot" */
  const char* device;    /* "cuda" */
  const char* precision; /* "bf16", or a mix: "vision=bf16,prefix=bf16,expert=fp8" */
  const char* layout;    /* "lerobot", "openpi" or "orbax" */
  int32_t steps;         /* denoising steps */
  int32_t chunk;         /* actions in a chunk: the horizon */
  int32_t state_dim;     /* 0: not known, any up to max_state_dim */
  int32_t max_state_dim;
  int32_t action_dim;
  int32_t max_action_dim; /* of the noise */
  int32_t image_size;     /* frames of any size are resized to it */
  int32_t max_prompt_tokens;
  int32_t state_in_prompt;    /* 1: the state is written into the prompt */
  int32_t reserved;           /* 0 */
  const char* const* cameras; /* in the order the model sees them */
  size_t camera_count;
  const char* const* action_names; /* none when the checkpoint has none */
  size_t action_name_count;
  const char* const* warnings; /* sentences of loading */
  size_t warning_count;
  uint64_t parameters;
  uint64_t weight_bytes;    /* on the device */
  uint64_t buffer_bytes;    /* activations, caches, tables and inputs, on the device */
  const char* const* notes; /* sentences: what loading decided by measuring */
  size_t note_count;
} saccade_info;

/* Fills `info`. */
SACCADE_API saccade_status saccade_get_info(const saccade_policy* policy, saccade_info* info);

/* The same as one JSON object. */
SACCADE_API saccade_status saccade_describe(const saccade_policy* policy, const char** json);

/* The CUDA stream (a cudaStream_t) that the policy runs on, which lives as long as it; NULL on the
 * CPU. What is enqueued there before an inference has happened when it reads its frames. */
SACCADE_API void* saccade_stream(const saccade_policy* policy);

/* Where pixels lie. Device memory is that of the policy's GPU, or managed memory. */
enum { SACCADE_HOST_MEMORY = 0, SACCADE_DEVICE_MEMORY = 1 };

/* One camera frame: 8-bit RGB, height x width x 3. A policy on the CPU reads frames in place, and
 * refuses those in device memory. A policy on a GPU reads those in device memory in place, also
 * with gaps between their rows, and copies others to the GPU; saccade_observation.stream says when
 * their pixels are there. */
typedef struct saccade_frame {
  const char* camera;   /* its name; NULL: camera_index counts */
  int32_t camera_index; /* into saccade_info.cameras; 0 when a name is given */
  int32_t memory;       /* SACCADE_HOST_MEMORY or SACCADE_DEVICE_MEMORY */
  const uint8_t* pixels;
  int64_t row_stride; /* bytes from one row to the next; 0: 3 * width */
  int32_t height;
  int32_t width;
  uint64_t reserved[2]; /* 0 */
} saccade_frame;

enum { SACCADE_REALTIME_GUIDED = 1, SACCADE_REALTIME_TRAINED = 2 };

/* How the pull on a row falls from the delay to the horizon. */
enum {
  SACCADE_SCHEDULE_LINEAR = 0,
  SACCADE_SCHEDULE_EXP = 1,
  SACCADE_SCHEDULE_ONES = 2, /* not at all */
  SACCADE_SCHEDULE_ZEROS = 3 /* at once */
};

/* Real-time chunking: the new chunk continues the one that is being executed. The rows below
 * inference_delay are held at the previous chunk, those below execution_horizon are pulled towards
 * it, the others are free. The mode is LeRobot's "guided", which every policy can do; this version
 * refuses policies' "trained" mode with SACCADE_NOT_SUPPORTED. */
typedef struct saccade_realtime {
  size_t size;
  int32_t mode;                  /* SACCADE_REALTIME_GUIDED or _TRAINED */
  int32_t inference_delay;       /* actions that will be executed before the new chunk is there */
  int32_t execution_horizon;     /* previous actions that count, at most; 0: 10 */
  int32_t previous_action_count; /* rows of previous_actions; 0: nothing is to be continued */
  const float* previous_actions; /* [previous_action_count, action_dim], physical units; row i is
                                    the action at the time of the new chunk's row i */
  int32_t schedule;              /* SACCADE_SCHEDULE_LINEAR ... */
  int32_t reserved;              /* 0 */
  double max_guidance_weight;    /* 0: 10 */
} saccade_realtime;

/* What the robot sees and is told. */
typedef struct saccade_observation {
  size_t size;
  const saccade_frame* frames; /* cameras that are not given count as missing */
  size_t frame_count;
  const double* state; /* physical units */
  size_t state_count;
  const char* prompt;    /* NULL: tokens, or the policy's own prompt if it has one */
  const int32_t* tokens; /* in place of a prompt; NULL: the prompt counts */
  size_t token_count;
  uint64_t seed;                    /* of the noise, unless it is given */
  const float* noise;               /* [chunk, max_action_dim], row-major; NULL: from the seed */
  size_t noise_count;               /* chunk * max_action_dim */
  const saccade_realtime* realtime; /* NULL: none */

  /* For frames in device memory: the CUDA stream (a cudaStream_t) that their pixels are written on.
   * They are read behind all that it holds when saccade_infer() is called, without a wait of the
   * host. NULL: the legacy default stream. saccade_stream(): they are in order already. */
  void* stream;
} saccade_observation;

/* Wall time of one part of an inference. */
typedef struct saccade_stage_time {
  const char* stage; /* "preprocess", "model", ..., at last "total" */
  double ms;
} saccade_stage_time;

/* Stages of an inference are never more than this. */
enum { SACCADE_MAX_STAGES = 16 };

/* Where the results of an inference go: into buffers of the caller. */
typedef struct saccade_chunk {
  size_t size;
  float* values;         /* [actions, action_dim] in physical units, row-major */
  size_t value_capacity; /* floats that fit; at least chunk * action_dim */
  int32_t actions;       /* out: rows */
  int32_t action_dim;    /* out: columns */

  /* Wanted by who gives a buffer. Each count says how many there are, also when fewer fit. */
  int32_t* tokens; /* what the model was prompted with; at most max_prompt_tokens */
  size_t token_capacity;
  size_t token_count;        /* out */
  saccade_stage_time* times; /* at most SACCADE_MAX_STAGES */
  size_t time_capacity;
  size_t time_count; /* out */
  char* warnings;    /* a sentence a line, such as that a prompt was cut; ends with a zero byte */
  size_t warning_capacity;
  size_t warning_bytes; /* out; without the zero byte */
} saccade_chunk;

/* Runs one inference. The observation's pixels are read until it returns, and not after that,
 * wherever they are: the caller may overwrite them on any stream. */
SACCADE_API saccade_status saccade_infer(saccade_policy* policy,
                                         const saccade_observation* observation,
                                         saccade_chunk* chunk);

/* Wall time of one stage over the last SACCADE_STATS_WINDOW inferences. */
typedef struct saccade_stage_stats {
  const char* stage;
  uint64_t count; /* inferences that p50_ms and p99_ms are of */
  double last_ms;
  double p50_ms;
  double p99_ms; /* nearest rank */
} saccade_stage_stats;

enum { SACCADE_STATS_WINDOW = 1024 };

typedef struct saccade_stats {
  size_t size;
  uint64_t inferences;         /* out: that succeeded, since the policy was loaded */
  uint64_t errors;             /* out: calls of saccade_infer() that failed */
  saccade_stage_stats* stages; /* NULL: not wanted */
  size_t stage_capacity;       /* SACCADE_MAX_STAGES is enough */
  size_t stage_count;          /* out: how many there are, also when fewer fit */
} saccade_stats;

/* Fills `stats`. May be called during an inference. */
SACCADE_API saccade_status saccade_get_stats(const saccade_policy* policy, saccade_stats* stats);

#ifdef __cplusplus
}
#endif

#endif /* SACCADE_H_ */
