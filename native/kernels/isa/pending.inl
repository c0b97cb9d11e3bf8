// Kernels that are not written yet: whoever writes one includes its .inl in compile.inl and takes its line away.

namespace featherweight::FW_ISA {

#define FW_PENDING(name, Arguments) \
  inline void name(const Arguments&, Part) noexcept { std::abort(); }
#undef FW_PENDING

}  // namespace featherweight::FW_ISA
