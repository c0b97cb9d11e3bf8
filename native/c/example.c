/* Runs a network on ones: example MODEL.fw. Unknown sizes are taken as 1. */
#include "featherweight.h"

#include <stdio.h>
#include <stdlib.h>

static size_t elements(const fw_shape* shape) {
  size_t product = 1;
  for (int i = 0; i < shape->rank; ++i) product *= (size_t)shape->sizes[i];
  return product;
}

static int fail(fw_network* network) {
  fprintf(stderr, "%s\n", fw_error(network));
  fw_close(network);
  return 1;
}

int main(int argc, char** argv) {
  fw_network* network = NULL;
  fw_value input;
  fw_shape out_shape;
  if (argc != 2) return fprintf(stderr, "usage: %s MODEL.fw (featherweight %s)\n", argv[0], fw_version()), 2;
  if (fw_open_path(argv[1], 1, NULL, &network) != FW_OK) return fail(network);
  if (fw_input_count(network) != 1 || fw_output_count(network) != 1)
    return fprintf(stderr, "one input and one output, please\n"), 1;
  if (fw_input(network, 0, &input) != FW_OK) return fail(network);
  for (int i = 0; i < input.shape.rank; ++i)
    if (input.shape.sizes[i] == FW_UNKNOWN) input.shape.sizes[i] = 1;
  if (fw_prepare(network, &input.shape, &out_shape) != FW_OK) return fail(network);

  float* in = malloc(elements(&input.shape) * sizeof(float) + 1);
  float* out = malloc(elements(&out_shape) * sizeof(float) + 1);
  for (size_t i = 0; i < elements(&input.shape); ++i) in[i] = 1.0f;
  const void* inputs[] = {in};
  void* outputs[] = {out};
  if (fw_run(network, &input.shape, inputs, outputs) != FW_OK) return fail(network);
  for (size_t i = 0; i < elements(&out_shape); ++i) printf("%g\n", (double)out[i]);
  free(in);
  free(out);
  fw_close(network);
  return 0;
}
