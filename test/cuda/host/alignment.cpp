// What the compiler calls, with -fsanitize=alignment, where memory is read or written at an address
// that a GPU refuses for the type: counted here, in place of the sanitizer's own library.
namespace {
int misaligned = 0;
}

#define VISIBLE extern "C" __attribute__((visibility("default")))

VISIBLE void __ubsan_handle_type_mismatch_v1(void*, void*) { ++misaligned; }
VISIBLE void __ubsan_handle_alignment_assumption(void*, void*, void*, void*) { ++misaligned; }

VISIBLE int misaligned_accesses() { return misaligned; }
VISIBLE int read_misaligned(const char* data) { return *reinterpret_cast<const int*>(data); }
