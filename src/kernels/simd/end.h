// Closes what simd/<target>.h opened.
}  // namespace
}  // namespace lissom::kernels::LISSOM_TARGET_NAMESPACE
#if !defined(LISSOM_NO_ATTRIBUTES)
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
