// The Python face of sessions: converts arguments, results and statuses, and does nothing else.
#include "python/session.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "plan/session.h"

namespace nb = nanobind;
namespace fw = featherweight;

namespace {

using AnyArray = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;
using OutArray = nb::ndarray<nb::c_contig, nb::device::cpu>;

// Raised as _native.RuntimeFailure(code, text).
struct Failure {
  fw::Status status;
};
PyObject* failure_type = nullptr;

void translate(const std::exception_ptr& error, void*) {
  try {
    std::rethrow_exception(error);
  } catch (const Failure& failure) {
    const std::string& text = failure.status.text();  // a path in it may be in no encoding
    const nb::object words = nb::steal(
        PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "backslashreplace"));
    const nb::tuple arguments = nb::make_tuple(static_cast<int>(failure.status.code()), words);
    PyErr_SetObject(failure_type, arguments.ptr());
  }
}

template <class T>
T checked(fw::Result<T> result) {
  if (!result.ok()) throw Failure{result.status()};
  return std::move(result).value();
}
void checked(const fw::Status& status) {
  if (!status.ok()) throw Failure{status};
}

nb::dlpack::dtype dlpack_type(fw::Dtype dtype) {
  switch (dtype) {
    case fw::Dtype::kInt64: return nb::dtype<std::int64_t>();
    case fw::Dtype::kInt32: return nb::dtype<std::int32_t>();
    case fw::Dtype::kUint8: return nb::dtype<std::uint8_t>();
    case fw::Dtype::kBool: return nb::dtype<bool>();
    default: return nb::dtype<float>();
  }
}

nb::object sizes(const fw::Shape& shape) {
  nb::list list;
  for (const std::int64_t size : shape)
    list.append(size == fw::kUnknown ? nb::object(nb::none()) : nb::object(nb::int_(size)));
  return nb::tuple(list);
}

// Of arrays that a caller gave, while they live.
struct Given {
  std::vector<fw::Shape> shapes;
  std::vector<const void*> pointers;
};

template <class Array>
fw::Shape shape_of(const Array& array) {
  fw::Shape shape;
  for (std::size_t axis = 0; axis < array.ndim(); ++axis) shape.push_back(static_cast<std::int64_t>(array.shape(axis)));
  return shape;
}

Given given(const fw::Model& model, const std::vector<AnyArray>& arrays) {
  Given out;
  const auto& inputs = model.graph().inputs;
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    if (i < inputs.size() && arrays[i].dtype() != dlpack_type(inputs[i].dtype))
      throw Failure{{fw::Code::kArgument, "input " + fw::quoted(inputs[i].name) + ": expected an array of " +
                                              fw::info_of(inputs[i].dtype).name}};
    out.shapes.push_back(shape_of(arrays[i]));
    out.pointers.push_back(arrays[i].data());
  }
  return out;
}

// The arrays that a caller gave for outputs, which should be as `types` says.
std::vector<void*> given_for(const std::vector<fw::ValueType>& types, const std::vector<OutArray>& arrays) {
  if (arrays.size() != types.size())
    throw Failure{{fw::Code::kArgument, "out: expected " + std::to_string(types.size()) + " arrays, got " +
                                            std::to_string(arrays.size())}};
  std::vector<void*> pointers;
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    const bool fits = arrays[i].dtype() == dlpack_type(types[i].dtype) && shape_of(arrays[i]) == types[i].shape;
    if (!fits)
      throw Failure{{fw::Code::kArgument, "out: array " + std::to_string(i) + " should be " +
                                              fw::info_of(types[i].dtype).name + " of shape " +
                                              fw::text_of(types[i].shape)}};
    pointers.push_back(arrays[i].data());
  }
  return pointers;
}

// An array that Python will own. It is not zeroed: a run writes all of it.
struct Output {
  struct Delete {
    void operator()(void* bytes) const noexcept { ::operator delete(bytes, kAlignment); }
  };
  static constexpr std::align_val_t kAlignment{fw::kCacheLine};

  explicit Output(const fw::ValueType& type)
      : dtype(type.dtype), shape(type.shape.begin(), type.shape.end()),
        bytes(::operator new(static_cast<std::size_t>(fw::count(type.shape)) * fw::info_of(type.dtype).bytes,
                             kAlignment)) {}

  nb::object array() && {
    const nb::capsule owner(bytes.get(), [](void* p) noexcept { Delete()(p); });
    void* const data = bytes.release();
    return nb::cast(nb::ndarray<nb::numpy>(data, shape.size(), shape.data(), owner, nullptr, dlpack_type(dtype)));
  }

  fw::Dtype dtype;
  std::vector<std::size_t> shape;
  std::unique_ptr<void, Delete> bytes;
};

// A path as the system knows it: its bytes need not be UTF-8.
nb::bytes encoded(const nb::object& path) {
  PyObject* const bytes = PyUnicode_EncodeFSDefault(path.ptr());
  if (bytes == nullptr) throw nb::python_error();
  return nb::steal<nb::bytes>(bytes);
}

class Session {
 public:
  Session(const nb::object& source, int threads, const std::optional<std::string>& isa) {
    const bool is_path = nb::isinstance<nb::str>(source);
    const nb::bytes bytes = is_path ? encoded(source) : nb::cast<nb::bytes>(source);
    const fw::Bytes view{static_cast<const std::uint8_t*>(bytes.data()), bytes.size()};
    const nb::gil_scoped_release release;
    auto model = checked(is_path ? fw::Model::open_path(bytes.c_str()) : fw::Model::open_copy(view));
    context_ = checked(fw::Context::create(std::move(model), {threads, isa.value_or(""), false, false}));
  }

  explicit Session(std::unique_ptr<fw::Context> context) : context_(std::move(context)) {}

  Session clone(int threads) const {
    const nb::gil_scoped_release release;
    return Session(checked(context_->clone(threads)));
  }

  const char* isa() const { return context_->isa(); }
  int threads() const { return context_->threads(); }

  nb::list inputs() const {
    nb::list list;
    for (const fw::GraphInput& input : context_->model().graph().inputs)
      list.append(nb::make_tuple(input.name, fw::info_of(input.dtype).name, sizes(input.shape)));
    return list;
  }
  nb::list outputs() const {
    nb::list list;
    const fw::Model& model = context_->model();
    for (std::size_t i = 0; i < model.graph().outputs.size(); ++i) {
      const fw::OutputType& type = model.output_types()[i];
      list.append(nb::make_tuple(model.graph().values[static_cast<std::size_t>(model.graph().outputs[i])],
                                 fw::info_of(type.dtype).name,
                                 type.shape ? sizes(*type.shape) : nb::object(nb::none())));
    }
    return list;
  }

  nb::list run(const std::vector<AnyArray>& arrays) {
    const Given in = given(context_->model(), arrays);
    std::vector<Output> outputs;
    {
      const nb::gil_scoped_release release;
      std::vector<void*> pointers;
      for (const fw::ValueType& type : checked(context_->prepare(in.shapes))) {
        outputs.emplace_back(type);
        pointers.push_back(outputs.back().bytes.get());
      }
      checked(context_->run(in.shapes, in.pointers, pointers));
    }
    nb::list list;
    for (Output& output : outputs) list.append(std::move(output).array());
    return list;
  }

  void run_into(const std::vector<AnyArray>& arrays, const std::vector<OutArray>& out) {
    const Given in = given(context_->model(), arrays);
    const nb::gil_scoped_release release;
    const std::vector<fw::ValueType> types = checked(context_->prepare(in.shapes));
    checked(context_->run(in.shapes, in.pointers, given_for(types, out)));
  }

  nb::list profile(const std::vector<AnyArray>& arrays, int repeats) {
    const Given in = given(context_->model(), arrays);
    std::vector<fw::ProfileRow> rows;
    {
      const nb::gil_scoped_release release;
      rows = checked(context_->profile(in.shapes, in.pointers, repeats));
    }
    nb::list list;
    for (const fw::ProfileRow& row : rows)
      list.append(nb::make_tuple(row.operation, row.kernel, row.milliseconds, row.macs, row.macs_done));
    return list;
  }

  std::int64_t arena_bytes(const std::vector<AnyArray>& arrays) {
    const Given in = given(context_->model(), arrays);
    const nb::gil_scoped_release release;
    return checked(context_->arena_bytes(in.shapes));
  }

 private:
  std::unique_ptr<fw::Context> context_;
};

}  // namespace

void bind_session(nb::module_& module) {
  failure_type = PyErr_NewExceptionWithDoc("featherweight._native.RuntimeFailure",
                                           "What the native engine refuses: (code, text).", nullptr, nullptr);
  module.attr("RuntimeFailure") = nb::borrow(failure_type);  // we keep it too, whatever becomes of the attribute
  nb::register_exception_translator(&translate);
  nb::class_<Session>(module, "Session")
      .def(nb::init<const nb::object&, int, const std::optional<std::string>&>(), nb::arg("source"),
           nb::arg("threads"), nb::arg("isa") = nb::none(), "Open a path (str) or the bytes of a .fw file.")
      .def_prop_ro("isa", &Session::isa)
      .def_prop_ro("threads", &Session::threads)
      .def("inputs", &Session::inputs, "Name, dtype and sizes of each input.")
      .def("outputs", &Session::outputs, "Name, dtype and sizes of each output.")
      .def("run", &Session::run, nb::arg("arrays"), "Run with arrays in C order; gives the outputs.")
      .def("run_into", &Session::run_into, nb::arg("arrays"), nb::arg("out").noconvert(),
           "Run with arrays in C order, into arrays for the outputs that overlap no other.")
      .def("clone", &Session::clone, nb::arg("threads"),
           "Another user of the same network, to run at the same time; threads 0: as many as this one.")
      .def("profile", &Session::profile, nb::arg("arrays"), nb::arg("repeats"),
           "Operation, kernel, milliseconds, MACs and MACs done of each step.")
      .def("arena_bytes", &Session::arena_bytes, nb::arg("arrays"),
           "How much memory values take for these shapes.");
}
