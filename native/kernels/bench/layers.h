// Layers of well known networks, for pictures of 224x224.
#pragma once

#include <vector>

namespace featherweight::bench {

struct Layer {
  const char* network;
  const char* name;
  int in_channels, out_channels, groups, kernel, stride, size;  // size: of the input picture, square
  int times;                                                     // how often the network has it
};

inline const std::vector<Layer>& layers() {
  static const std::vector<Layer> all = {
      {"resnet50", "stem 7x7/2", 3, 64, 1, 7, 2, 224, 1},
      {"resnet50", "1.0 1x1", 64, 64, 1, 1, 1, 56, 1},
      {"resnet50", "1 3x3", 64, 64, 1, 3, 1, 56, 3},
      {"resnet50", "1 1x1 up", 64, 256, 1, 1, 1, 56, 4},
      {"resnet50", "1 1x1 down", 256, 64, 1, 1, 1, 56, 2},
      {"resnet50", "2.0 1x1", 256, 128, 1, 1, 1, 56, 1},
      {"resnet50", "2.0 3x3/2", 128, 128, 1, 3, 2, 56, 1},
      {"resnet50", "2.0 skip/2", 256, 512, 1, 1, 2, 56, 1},
      {"resnet50", "2 1x1 up", 128, 512, 1, 1, 1, 28, 4},
      {"resnet50", "2 1x1 down", 512, 128, 1, 1, 1, 28, 3},
      {"resnet50", "2 3x3", 128, 128, 1, 3, 1, 28, 3},
      {"resnet50", "3.0 1x1", 512, 256, 1, 1, 1, 28, 1},
      {"resnet50", "3.0 3x3/2", 256, 256, 1, 3, 2, 28, 1},
      {"resnet50", "3.0 skip/2", 512, 1024, 1, 1, 2, 28, 1},
      {"resnet50", "3 1x1 up", 256, 1024, 1, 1, 1, 14, 6},
      {"resnet50", "3 1x1 down", 1024, 256, 1, 1, 1, 14, 5},
      {"resnet50", "3 3x3", 256, 256, 1, 3, 1, 14, 5},
      {"resnet50", "4.0 1x1", 1024, 512, 1, 1, 1, 14, 1},
      {"resnet50", "4.0 3x3/2", 512, 512, 1, 3, 2, 14, 1},
      {"resnet50", "4.0 skip/2", 1024, 2048, 1, 1, 2, 14, 1},
      {"resnet50", "4 1x1 up", 512, 2048, 1, 1, 1, 7, 3},
      {"resnet50", "4 1x1 down", 2048, 512, 1, 1, 1, 7, 2},
      {"resnet50", "4 3x3", 512, 512, 1, 3, 1, 7, 2},
      {"mobilenet", "stem 3x3/2", 3, 32, 1, 3, 2, 224, 1},
      {"mobilenet", "dw 32", 32, 32, 32, 3, 1, 112, 1},
      {"mobilenet", "pw 64", 32, 64, 1, 1, 1, 112, 1},
      {"mobilenet", "dw 64/2", 64, 64, 64, 3, 2, 112, 1},
      {"mobilenet", "pw 128", 64, 128, 1, 1, 1, 56, 1},
      {"mobilenet", "dw 128", 128, 128, 128, 3, 1, 56, 1},
      {"mobilenet", "pw 128 128", 128, 128, 1, 1, 1, 56, 1},
      {"mobilenet", "dw 128/2", 128, 128, 128, 3, 2, 56, 1},
      {"mobilenet", "pw 256", 128, 256, 1, 1, 1, 28, 1},
      {"mobilenet", "dw 256", 256, 256, 256, 3, 1, 28, 1},
      {"mobilenet", "pw 256 256", 256, 256, 1, 1, 1, 28, 1},
      {"mobilenet", "dw 256/2", 256, 256, 256, 3, 2, 28, 1},
      {"mobilenet", "pw 512", 256, 512, 1, 1, 1, 14, 1},
      {"mobilenet", "dw 512", 512, 512, 512, 3, 1, 14, 5},
      {"mobilenet", "pw 512 512", 512, 512, 1, 1, 1, 14, 5},
      {"mobilenet", "dw 512/2", 512, 512, 512, 3, 2, 14, 1},
      {"mobilenet", "pw 1024", 512, 1024, 1, 1, 1, 7, 1},
      {"mobilenet", "dw 1024", 1024, 1024, 1024, 3, 1, 7, 1},
      {"mobilenet", "pw 1024 1024", 1024, 1024, 1, 1, 1, 7, 1},

      {"vgg16", "stem 3x3", 3, 64, 1, 3, 1, 224, 1},
      {"vgg16", "64", 64, 64, 1, 3, 1, 224, 1},
      {"vgg16", "64 128", 64, 128, 1, 3, 1, 112, 1},
      {"vgg16", "128", 128, 128, 1, 3, 1, 112, 1},
      {"vgg16", "128 256", 128, 256, 1, 3, 1, 56, 1},
      {"vgg16", "256", 256, 256, 1, 3, 1, 56, 2},
      {"vgg16", "256 512", 256, 512, 1, 3, 1, 28, 1},
      {"vgg16", "512", 512, 512, 1, 3, 1, 28, 2},
      {"vgg16", "512 last", 512, 512, 1, 3, 1, 14, 3},
  };
  return all;
}

}  // namespace featherweight::bench
