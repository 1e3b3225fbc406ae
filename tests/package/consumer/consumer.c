/* A C99 user of the library: runs the tiny model on the CPU, checks the numbers, and meets an error and its message.
 *   consumer_c MODEL | --version */
#include <fcm/fcm.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(fcm_status* status) {
  if (status == NULL) return;
  fprintf(stderr, "status %d: %s\n", (int)fcm_status_get_code(status), fcm_status_message(status));
  fcm_status_release(status);
  exit(1);
}

static void expect(int condition, const char* what) {
  if (condition) return;
  fprintf(stderr, "not so: %s\n", what);
  exit(1);
}

static void run_twice(const fcm_engine* engine) {
  enum { BATCH = 2, PIXELS = 16 };
  float image[BATCH * 3 * PIXELS];
  float scores[BATCH * 2] = {0};
  fcm_input input;
  fcm_output output;
  fcm_context* context = NULL;
  int i;

  /* The first image is all ones, the second all minus ones. */
  for (i = 0; i < BATCH * 3 * PIXELS; ++i) image[i] = i < 3 * PIXELS ? 1.0F : -1.0F;
  memset(&input, 0, sizeof input);
  input.data = image;
  input.bytes = sizeof image;
  output.data = scores;
  output.bytes = sizeof scores;
  output.space = FCM_HOST;

  check(fcm_context_create(engine, BATCH, &context));
  check(fcm_context_prepare(context, BATCH));
  check(fcm_context_run(context, BATCH, &input, 1, &output, 1, NULL));
  fcm_context_release(context);

  expect(fabs(scores[0] - 2.25) < 1e-5 && fabs(scores[1]) < 1e-5, "the first image scores 2.25 and 0");
  expect(fabs(scores[2]) < 1e-5 && fabs(scores[3] - 1.875) < 1e-5, "the second image scores 0 and 1.875");
}

static void meet_an_error(void) {
  fcm_model* model = NULL;
  fcm_status* status = fcm_model_load("/no/such/model.onnx", NULL, &model);
  expect(status != NULL && model == NULL, "a missing model is an error that leaves the output alone");
  expect(fcm_status_get_code(status) == FCM_STATUS_BAD_INPUT, "its code is FCM_STATUS_BAD_INPUT");
  expect(strstr(fcm_status_message(status), "/no/such/model.onnx") != NULL, "its message names the file");
  fcm_status_release(status);
}

int main(int argc, char** argv) {
  fcm_options* options = NULL;
  fcm_model* model = NULL;
  fcm_engine* engine = NULL;
  fcm_port port;
  const unsigned version = (unsigned)fcm_version();

  if (argc != 2) return 1;
  if (strcmp(argv[1], "--version") == 0) {
    printf("%u.%u.%u\n", version / 10000, version / 100 % 100, version % 100);
    return 0;
  }
  check(fcm_options_create(FCM_ABI_VERSION, &options));
  check(fcm_options_set(options, "device", "cpu"));
  check(fcm_model_load(argv[1], options, &model));
  check(fcm_engine_create(model, options, &engine));
  check(fcm_engine_input(engine, 0, &port));
  expect(strcmp(port.name, "image") == 0 && port.rank == 4 && port.bytes_per_batch == 3 * 16 * sizeof(float), "the input is image[3,4,4]");

  /* Handles may be released in any order: the engine keeps what it needs. */
  fcm_model_release(model);
  fcm_options_release(options);
  run_twice(engine);
  fcm_engine_release(engine);
  meet_an_error();
  return 0;
}
