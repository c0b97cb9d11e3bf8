// The runtime's part of the Python module.
#pragma once

#include <nanobind/nanobind.h>

void bind_session(nanobind::module_& module);
