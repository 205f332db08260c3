"""hadal.gemm over numpy arrays, torch tensors and DLPack, against numpy in double precision."""

import ctypes
import os
import subprocess
import sys
import tempfile
import textwrap
import unittest

import hadal
import numpy as np

try:
    import torch
except ImportError:
    torch = None


def decode(pair, block):
    """Codes and scales as float64."""
    codes, scales = pair
    table = np.array([value_of(i) for i in range(256)])
    rows, cols = codes.shape[-2:]
    r = np.minimum(np.arange(rows) // block[0], scales.shape[-2] - 1)
    c = np.minimum(np.arange(cols) // block[1], scales.shape[-1] - 1)
    return table[codes] * scales[..., r[:, None], c[None, :]].astype(np.float64)


def value_of(code):
    sign = -1.0 if code & 0x80 else 1.0
    exponent, mantissa = code >> 3 & 15, code & 7
    if exponent == 15 and mantissa == 7:
        return np.nan
    if exponent == 0:
        return sign * mantissa * 2.0**-9
    return sign * (1 + mantissa / 8) * 2.0**(exponent - 7)


class Inputs(unittest.TestCase):
    def setUp(self):
        rng = np.random.default_rng(1)
        self.x = rng.standard_normal((70, 400), np.float32)
        self.w = rng.standard_normal((136, 400), np.float32)
        self.a = hadal.per_token_cast_to_fp8(self.x)
        self.b = hadal.per_block_cast_to_fp8(self.w)
        self.exact = decode(self.a, (1, 128)) @ decode(self.b, (128, 128)).T


class Gemm(Inputs):
    def test_product(self):
        f32 = hadal.fp8_gemm_nt(self.a, self.b, out_dtype="f32")
        self.assertLess(hadal.calc_diff(f32, self.exact), 1e-12)
        bf16 = hadal.fp8_gemm_nt(self.a, self.b)
        self.assertEqual(bf16.dtype, np.uint16)
        self.assertLess(hadal.calc_diff(hadal.gemm.bf16_to_float(bf16), self.exact), 5e-6)
        self.assertLess(hadal.calc_diff(f32, self.x.astype(np.float64) @ self.w.T), 1e-3)

    def test_int8(self):
        d = hadal.fp8_gemm_nt(self.a, self.b, out_dtype="f32", int8=True)
        self.assertLess(hadal.calc_diff(d, self.exact), 7e-5)
        self.assertGreater(hadal.calc_diff(d, self.exact), 1e-5)
        self.assertLess(hadal.calc_diff(d, self.x.astype(np.float64) @ self.w.T), 1e-3)
        with self.subTest("grouped"):
            b = (self.b[0][None], self.b[1][None])
            ids = np.zeros(70, np.int32)
            grouped = hadal.m_grouped_fp8_gemm_nt_contiguous(self.a, b, None, ids,
                                                             out_dtype="f32", int8=True)
            self.assertTrue((grouped == d).all())
            a = (self.a[0][None], self.a[1][None])
            counts = np.array([70], np.int32)
            masked = hadal.m_grouped_fp8_gemm_nt_masked(a, b, None, counts, out_dtype="f32",
                                                         int8=True)
            self.assertTrue((masked[0] == d).all())

    def test_accumulates(self):
        c = np.full((70, 136), 3, np.float32)
        d = hadal.fp8_gemm_nt(self.a, self.b, out_dtype="f32", c=c)
        self.assertLess(hadal.calc_diff(d, self.exact + 3), 1e-12)
        self.assertTrue((c == 3).all())

    def test_other_scales(self):
        b = hadal.per_token_cast_to_fp8(self.w)
        d = hadal.fp8_gemm_nt(self.a, b, out_dtype="f32")
        self.assertLess(hadal.calc_diff(d, decode(self.a, (1, 128)) @ decode(b, (1, 128)).T), 1e-12)
        rows = (self.a[0], np.full((70, 1), 0.5, np.float32))
        d = hadal.fp8_gemm_nt(rows, b, out_dtype="f32")
        self.assertLess(hadal.calc_diff(d, decode(rows, (1, 999)) @ decode(b, (1, 128)).T), 1e-12)

    def test_quantizers_agree_with_their_definition(self):
        codes, scales = self.a
        self.assertEqual(scales.shape, (70, 4))
        amax = np.abs(self.x[3, 128:256]).max()
        self.assertEqual(scales[3, 1], np.float32(amax) / np.float32(448))
        self.assertLess(np.abs(decode(self.a, (1, 128)) - self.x).max() / np.abs(self.x).max(), 0.07)
        powers = hadal.per_token_cast_to_fp8(self.x, use_ue8m0=True)[1]
        self.assertTrue((np.log2(powers) % 1 == 0).all())

    def test_contiguous_groups(self):
        b = tuple(np.stack([part, part]) for part in self.b)
        b[1][1] *= 2
        ids = np.repeat(np.array([1, -1, 0], np.int32), [30, 7, 33])
        d = hadal.m_grouped_fp8_gemm_nt_contiguous(self.a, b, None, ids, out_dtype="f32")
        factor = np.choose(ids + 1, [0, 1, 2])[:, None]
        self.assertLess(hadal.calc_diff(d, self.exact * factor), 1e-12)
        self.assertTrue((d[30:37] == 0).all())
        ends = hadal.m_grouped_fp8_gemm_nt_contiguous(self.a, b, None, [30, 70],
                                                      use_psum_layout=True, out_dtype="f32")
        self.assertTrue((ends[37:] == 2 * d[37:]).all())

    def test_masked_groups(self):
        a = tuple(np.stack([part, part, part]) for part in self.a)
        b = tuple(np.stack([part, part, part]) for part in self.b)
        d = hadal.m_grouped_fp8_gemm_nt_masked(a, b, None, [5, 0, 70], 20, out_dtype="f32")
        for group, count in enumerate([5, 0, 70]):
            self.assertTrue((d[group, count:] == 0).all())
            if count:
                self.assertLess(hadal.calc_diff(d[group, :count], self.exact[:count]), 1e-12)

    def test_groups_along_k(self):
        a = hadal.per_token_cast_to_fp8(self.x[:, :384])
        b = hadal.per_token_cast_to_fp8(self.w[:, :384])
        d = hadal.k_grouped_fp8_gemm_nt(a, b, None, [256, 0, 128])
        x, w = decode(a, (1, 128)), decode(b, (1, 128))
        self.assertLess(hadal.calc_diff(d[0], x[:, :256] @ w[:, :256].T), 1e-12)
        self.assertTrue((d[1] == 0).all())
        self.assertLess(hadal.calc_diff(d[2], x[:, 256:] @ w[:, 256:].T), 1e-12)

    def test_groups_along_k_flat(self):
        ks = [256, 0, 128]
        a = hadal.per_token_cast_to_fp8(self.x[:, :384])
        b = hadal.per_token_cast_to_fp8(self.w[:, :384])
        c = np.full((3, 70, 136), 2, np.float32)
        expected = hadal.k_grouped_fp8_gemm_nt(a, b, None, ks, c=c)

        def flat(codes):
            return np.concatenate([part.ravel() for part in np.split(codes, np.cumsum(ks)[:-1], 1)])

        d = c.copy()  # DeepGEMM's call: C is D
        hadal.k_grouped_fp8_gemm_nt_contiguous((flat(a[0]), a[1]), (flat(b[0]), b[1]), d, ks,
                                               np.array(ks, np.int32), d)
        np.testing.assert_array_equal(d, expected)
        with self.assertRaisesRegex(ValueError, "a has 26880 codes; 70 rows .* want 70 x 256"):
            hadal.k_grouped_fp8_gemm_nt((flat(a[0]), a[1][:, :2]), (flat(b[0]), b[1]), d, [256])
        with self.assertRaisesRegex(ValueError, "multiple of 128"):
            hadal.k_grouped_fp8_gemm_nt(a, b, None, [100, 284])

    def test_writes_into_the_callers_array(self):
        expected = hadal.fp8_gemm_nt(self.a, self.b, out_dtype="f32")
        wide = np.full((70, 150), 7, np.float32)
        d = wide[:, 6:142]
        self.assertIs(hadal.fp8_gemm_nt(self.a, self.b, d), d)
        np.testing.assert_array_equal(d, expected)
        self.assertTrue((wide[:, :6] == 7).all() and (wide[:, 142:] == 7).all())
        hadal.fp8_gemm_nt(self.a, self.b, d, d)
        self.assertLess(hadal.calc_diff(d, 2 * self.exact), 1e-12)
        for dtype in (np.uint16, np.float16):
            d = np.empty((70, 136), dtype)
            hadal.fp8_gemm_nt(self.a, self.b, d)
            self.assertLess(hadal.calc_diff(d, self.exact), 5e-6)
        b = tuple(part[None] for part in self.b)
        d = np.full((70, 136), 7, np.float32)
        hadal.m_grouped_fp8_gemm_nt_contiguous(self.a, b, d, [0] * 30 + [-1] * 40)
        self.assertTrue((d[30:] == 7).all())
        np.testing.assert_array_equal(d[:30], expected[:30])

    def test_strided_inputs_are_read_where_they_are(self):
        expected = hadal.fp8_gemm_nt(self.a, self.b)
        wide = np.full((140, 500), 0x7f, np.uint8)  # NaN
        wide[::2, :400] = self.a[0]
        by_column = np.zeros((4, 72), np.float32)  # as TMA wants them
        by_column[:, :70] = self.a[1].T
        a = (wide[::2, :400], by_column.T[:70])
        np.testing.assert_array_equal(hadal.fp8_gemm_nt(a, self.b), expected)

    def test_scales_in_e8m0_words(self):
        x = np.pad(self.x, ((0, 0), (0, 240)))  # 5 blocks: two words of four
        a = hadal.per_token_cast_to_fp8(x, use_ue8m0=True)
        b = hadal.per_block_cast_to_fp8(np.pad(self.w, ((0, 0), (0, 240))))
        exponents = np.zeros((70, 8), np.uint8)
        exponents[:, :5] = np.log2(a[1]).astype(int) + 127
        words = np.asfortranarray(exponents.view(np.int32))
        np.testing.assert_array_equal(hadal.fp8_gemm_nt((a[0], words), b), hadal.fp8_gemm_nt(a, b))
        with self.assertRaisesRegex(ValueError, "the scales of a has strides .*the first must be 1"):
            hadal.fp8_gemm_nt((a[0], np.ascontiguousarray(words)), b)

    def test_nothing_to_do(self):
        empty = (np.zeros((0, 400), np.uint8), np.zeros((0, 4), np.float32))
        self.assertEqual(hadal.fp8_gemm_nt(empty, self.b).shape, (0, 136))
        a = (np.zeros((70, 0), np.uint8), np.zeros((70, 0), np.float32))
        b = (np.zeros((136, 0), np.uint8), np.zeros((2, 0), np.float32))
        self.assertTrue((hadal.fp8_gemm_nt(a, b, out_dtype="f32") == 0).all())
        with self.assertRaisesRegex(ValueError, "num_groups is 0"):
            hadal.m_grouped_fp8_gemm_nt_masked(
                tuple(part[None][:0] for part in self.a), tuple(part[None][:0] for part in self.b),
                None, [])

    def test_the_emulator_computes_the_same(self):
        def close(d, expected):
            self.assertLess(hadal.calc_diff(d, expected), 1e-12)

        close(hadal.fp8_gemm_nt(self.a, self.b, out_dtype="f32", device="emulator"), self.exact)
        wide = np.full((70, 144), 7, np.float32)
        hadal.fp8_gemm_nt(self.a, self.b, wide[:, :136], np.ones((70, 136), np.float32),
                          device="emulator")
        close(wide[:, :136], self.exact + 1)
        self.assertTrue((wide[:, 136:] == 7).all())
        b = tuple(np.stack([part, part]) for part in self.b)
        ids = np.repeat(np.array([1, -1, 0], np.int32), [30, 7, 33])
        call = hadal.m_grouped_fp8_gemm_nt_contiguous
        close(call(self.a, b, None, ids, out_dtype="f32", device="emulator"),
              call(self.a, b, None, ids, out_dtype="f32"))
        a = hadal.per_token_cast_to_fp8(self.x[:, :384])
        b = hadal.per_token_cast_to_fp8(self.w[:, :384])
        close(hadal.k_grouped_fp8_gemm_nt(a, b, None, [256, 128], device="emulator"),
              hadal.k_grouped_fp8_gemm_nt(a, b, None, [256, 128]))
        flat = ((a[0].ravel(), a[1]), (b[0].ravel(), b[1]))
        close(hadal.k_grouped_fp8_gemm_nt(*flat, None, [384], device="emulator"),
              hadal.k_grouped_fp8_gemm_nt(*flat, None, [384]))

    def test_mistakes_are_named(self):
        def says(sentence, call):
            with self.assertRaisesRegex(ValueError, sentence):
                call()

        codes, scales = self.b
        says("a has 400 columns and b has 300",
             lambda: hadal.fp8_gemm_nt(self.a, (codes[:, :300].copy(), scales[:, :3])))
        says("the scales of b has the shape .* 136 x 4",
             lambda: hadal.fp8_gemm_nt(self.a, (codes, scales[:, :2])))
        says("out_dtype is fp4", lambda: hadal.fp8_gemm_nt(self.a, self.b, out_dtype="fp4"))
        says("n is 130; it must be a multiple of 8",
             lambda: hadal.fp8_gemm_nt(self.a, (codes[:130].copy(), scales)))
        says("c has the shape", lambda: hadal.fp8_gemm_nt(self.a, self.b, c=np.zeros((2, 2), np.float32)))
        d = np.zeros((70, 136), np.float32)
        d.flags.writeable = False
        says("d is read-only", lambda: hadal.fp8_gemm_nt(self.a, self.b, d))
        says("d has the strides \\[1, 70\\]; the last must be 1",
             lambda: hadal.fp8_gemm_nt(self.a, self.b, np.zeros((136, 70), np.float32).T))
        says("a has the strides \\[1, 70\\]; the last must be 1",
             lambda: hadal.fp8_gemm_nt((np.asfortranarray(self.a[0]), self.a[1]), self.b))
        says("b has the strides \\[-400, 1\\]; they must be positive",
             lambda: hadal.fp8_gemm_nt(self.a, (codes[::-1], scales)))
        says("a has the strides \\[0, 1\\]; they must be positive",
             lambda: hadal.fp8_gemm_nt((np.broadcast_to(self.a[0][:1], (70, 400)), self.a[1]),
                                       self.b))
        says("d has the dtype float32; out_dtype says otherwise",
             lambda: hadal.fp8_gemm_nt(self.a, self.b, np.zeros((70, 136), np.float32),
                                       out_dtype="bf16"))
        says("device is cuda; it must be None or emulator",
             lambda: hadal.fp8_gemm_nt(self.a, self.b, device="cuda"))
        says("stream is given; arrays on the CPU have none",
             lambda: hadal.fp8_gemm_nt(self.a, self.b, stream=7))
        says("ks has 300 after 256; a has 400 columns",
             lambda: hadal.k_grouped_fp8_gemm_nt(self.a, hadal.per_token_cast_to_fp8(self.w), None,
                                                 [256, 300]))
        one = (codes[None], scales[None])
        says("grouped_layout has a number that does not fit 32 bits",
             lambda: hadal.m_grouped_fp8_gemm_nt_contiguous(self.a, one, None,
                                                            np.full(70, 2**32)))
        says("groups\\[0\\] is 7; it must be -1 to 0",
             lambda: hadal.m_grouped_fp8_gemm_nt_contiguous(
                 self.a, one, None, np.full(70, 7)))

    def test_wrong_kinds_are_type_errors(self):
        def says(sentence, call):
            with self.assertRaisesRegex(TypeError, sentence):
                call()

        codes, scales = self.b
        says("c has the dtype float64", lambda: hadal.fp8_gemm_nt(self.a, self.b, c=np.zeros((70, 136))))
        says("a must be a pair", lambda: hadal.fp8_gemm_nt(self.a[0], self.b))
        says("a is list", lambda: hadal.fp8_gemm_nt(([[1]], self.a[1]), self.b))
        says("d is str; it must be a numpy array", lambda: hadal.fp8_gemm_nt(self.a, self.b, "f32"))
        says("b has the dtype int8; it must be float8_e4m3fn",
             lambda: hadal.fp8_gemm_nt(self.a, (codes.view(np.int8), scales)))
        says("the scales of b has the dtype float64",
             lambda: hadal.fp8_gemm_nt(self.a, (codes, scales.astype(float))))
        says("the scales of b has the dtype float32; it must be",  # the other byte order
             lambda: hadal.fp8_gemm_nt(self.a, (codes, scales.astype(">f4"))))
        says("a has the dtype void; it must be float8",
             lambda: hadal.fp8_gemm_nt((np.zeros((70, 400), "V0"), self.a[1]), self.b))
        says("masked_m has the dtype float64; it must be int32",
             lambda: hadal.m_grouped_fp8_gemm_nt_masked(
                 tuple(part[None] for part in self.a), tuple(part[None] for part in self.b), None,
                 [1.5]))


class Shared:
    """An array that has nothing but DLPack, as another framework's; maybe on another device."""

    class Tensor(ctypes.Structure):  # the head of a DLManagedTensor
        _fields_ = [("data", ctypes.c_void_p), ("device", ctypes.c_int32), ("id", ctypes.c_int32),
                    ("ndim", ctypes.c_int32), ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8)]

    def __init__(self, array, code=None, device=(1, 0)):
        self.array, self.code, self.device, self.streams = array, code, device, []

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, stream=None):
        self.streams.append(stream)
        capsule = self.array.__dlpack__()
        pointer = ctypes.pythonapi.PyCapsule_GetPointer
        pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
        tensor = self.Tensor.from_address(pointer(capsule, b"dltensor"))
        tensor.device, tensor.id = self.device
        if self.code is not None:
            tensor.code = self.code
        return capsule


class DlPack(Inputs):
    """Objects of which only DLPack is known."""

    def share(self, pair, **keywords):
        return tuple(Shared(np.ascontiguousarray(part), **keywords) for part in pair)

    def test_products_over_dlpack(self):
        expected = hadal.fp8_gemm_nt(self.a, self.b)
        np.testing.assert_array_equal(hadal.fp8_gemm_nt(self.share(self.a), self.share(self.b)),
                                      expected)
        b = (Shared(self.b[0], code=10), Shared(self.b[1]))  # e4m3fn
        d = Shared(np.zeros((70, 136), np.uint16), code=4)   # bfloat16
        self.assertIs(hadal.fp8_gemm_nt(self.share(self.a), b, d), d)
        np.testing.assert_array_equal(d.array, expected)
        self.assertLess(hadal.calc_diff(d, Shared(self.exact)), 5e-6)
        codes, scales = hadal.per_token_cast_to_fp8(Shared(self.x))
        np.testing.assert_array_equal(codes, self.a[0])
        np.testing.assert_array_equal(scales, self.a[1])

    def test_e5m2(self):
        a = (Shared(np.full((8, 128), 0x3d, np.uint8), code=12), Shared(np.ones((8, 1), np.float32)))
        b = (np.full((8, 128), 0x38, np.uint8), np.ones((1, 1), np.float32))  # 1.25 and 1
        self.assertTrue((hadal.fp8_gemm_nt(a, b, out_dtype="f32") == 160).all())

    def test_devices_must_agree(self):
        with self.assertRaisesRegex(ValueError, "a is on the CPU and b on cuda:1; they must be"):
            hadal.fp8_gemm_nt(self.share(self.a), self.share(self.b, device=(2, 1)))
        with self.assertRaisesRegex(ValueError, "a is on a device of DLPack's type 10"):
            hadal.fp8_gemm_nt(self.share(self.a, device=(10, 0)), self.b)
        with self.assertRaisesRegex(TypeError, "b has the dtype DLPack code 5"):
            hadal.fp8_gemm_nt(self.a, self.share(self.b, code=5))


@unittest.skipIf(torch is None, "torch is not installed")
class Torch(Inputs):
    """On the CPU; what a GPU would see is in OnAFakeGpu."""

    def to_torch(self, pair):
        return tuple(torch.from_numpy(part) for part in pair)

    def test_products_over_torch(self):
        expected = hadal.fp8_gemm_nt(self.a, self.b)
        a, b = self.to_torch(self.a), self.to_torch(self.b)
        d = hadal.fp8_gemm_nt(a, b)
        self.assertEqual(d.dtype, torch.bfloat16)
        np.testing.assert_array_equal(d.view(torch.int16).numpy().view(np.uint16), expected)
        d = torch.zeros(70, 200, dtype=torch.bfloat16)[:, :136]
        hadal.fp8_gemm_nt(a, b, d)
        self.assertEqual(hadal.calc_diff(d, expected), 0)
        d = hadal.fp8_gemm_nt(a, b, c=torch.ones(70, 136, requires_grad=True), out_dtype="f32")
        self.assertLess(hadal.calc_diff(d, self.exact + 1), 1e-12)
        grouped = tuple(part[None] for part in b)
        ids = torch.zeros(70, dtype=torch.int64)
        np.testing.assert_array_equal(
            hadal.m_grouped_fp8_gemm_nt_contiguous(a, grouped, None, ids, out_dtype="f32"),
            hadal.fp8_gemm_nt(a, b, out_dtype="f32"))

    def test_casts(self):
        codes, scales = hadal.per_token_cast_to_fp8(torch.from_numpy(self.x))
        self.assertEqual(codes.dtype, getattr(torch, "float8_e4m3fn", torch.uint8))
        np.testing.assert_array_equal(codes.view(torch.uint8), self.a[0])
        np.testing.assert_array_equal(scales, self.a[1])
        half = torch.from_numpy(self.x).to(torch.bfloat16)
        np.testing.assert_array_equal(hadal.per_token_cast_to_fp8(half)[1],
                                      hadal.per_token_cast_to_fp8(half.float())[1])

    def test_mistakes_are_named(self):
        a, b = self.to_torch(self.a), self.to_torch(self.b)
        with self.assertRaisesRegex(ValueError, "a has the strides \\[1, 70\\]; the last must be 1"):
            hadal.fp8_gemm_nt((a[0].t().contiguous().t(), a[1]), b)
        with self.assertRaisesRegex(ValueError, "a is a sparse or lazily negated tensor"):
            hadal.fp8_gemm_nt((a[0].to_sparse(), a[1]), b)


@unittest.skipUnless(os.path.exists(os.environ.get("HADAL_FAKE_CUDA", "")), "no fake driver is built")
class OnAFakeGpu(unittest.TestCase):
    """Tensors that say they are on a GPU, a driver that writes launches down, and a torch of a few
    lines, in processes of their own: which device, stream and memory a call takes."""

    def launches(self, script):
        with tempfile.TemporaryDirectory() as folder:
            for name in ("libcuda.so.1", "libnvrtc.so.13"):
                os.symlink(os.environ["HADAL_FAKE_CUDA"], os.path.join(folder, name))
            environment = {**os.environ, "LD_LIBRARY_PATH": folder, "HADAL_GPU_CACHE": folder,
                           "HADAL_TEST_FOLDER": os.path.dirname(os.path.abspath(__file__))}
            code = textwrap.dedent(FAKE) + textwrap.dedent(script) + "\nprint(launches())"
            done = subprocess.run([sys.executable, "-c", code], env=environment, text=True,
                                  capture_output=True, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
            return [line.split() for line in done.stdout.splitlines() if line]

    def test_other_frameworks_give_a_stream_and_the_result(self):
        found = self.launches("""
            from gemm_test import Shared
            a, b = pair(16, Shared, device=(2, 1)), pair(64, Shared, device=(2, 1))
            d = Shared(np.zeros((16, 64), np.float32), device=(2, 1))
            assert hadal.fp8_gemm_nt(a, b, d, stream=4660) is d
            assert a[0].streams[-1] == 4660, a[0].streams
            hadal.fp8_gemm_nt(a, b, d)
            assert a[0].streams[-1] == 1, a[0].streams
            fails("d is None and a is not torch's", a, b)
            other = pair(64, Shared, device=(2, 7))
            fails("device ordinal is 7; it must be 0 to 1", pair(16, Shared, device=(2, 7)), other)
            fails("a is on cuda:1 and b on cuda:7", a, other)
            fails("device is emulator; a is on cuda:1", a, b, device="emulator")
        """)
        self.assertEqual([line[:2] for line in found], [["1", "4660"], ["1", "0"]])

    def test_torch_gives_its_current_stream(self):
        found = self.launches("""
            a, b = pair(16, on_gpu, "float8_e4m3fn"), pair(64, on_gpu, "float8_e4m3fn")
            d = hadal.fp8_gemm_nt(a, b)
            assert (d.dtype, d.device.index, tuple(d.shape)) == ("torch.bfloat16", 0, (16, 64))
            fails("stream is given; torch's tensors are used in torch's current stream", a, b, stream=1)
            fails("a is on cuda:0 and the scales of a on the CPU",
                  (a[0], np.ones((16, 1), np.float32)), b)
            ids = on_gpu(np.zeros(16, np.int32), "int32")
            one = tuple(on_gpu(part.array[None], part.dtype[6:]) for part in b)
            hadal.m_grouped_fp8_gemm_nt_contiguous(a, one, None, ids)
            hadal.k_grouped_fp8_gemm_nt(a, pair(64, on_gpu, "float8_e4m3fn", rows=1), None, [128])
        """)
        self.assertEqual([line[:2] for line in found], [["0", "4919"]] * 3)


FAKE = """
    import ctypes, os, sys, types
    import numpy as np

    def fake_torch():
        torch = types.ModuleType("torch")

        class Tensor:
            def __init__(self, array, dtype, device):
                self.array, self.dtype, self.device = array, "torch." + dtype, device
                self.shape, self.layout = array.shape, torch.strided
            def stride(self):
                return tuple(step // self.array.itemsize for step in self.array.strides)
            def data_ptr(self):
                return self.array.ctypes.data
            def is_neg(self):
                return False

        def make(shape, dtype, device):
            bytes_of = {"float8_e4m3fn": "u1", "bfloat16": "u2"}
            return Tensor(np.zeros(shape, bytes_of.get(dtype, dtype)), dtype, device)

        torch.Tensor, torch.strided, torch.empty, torch.zeros = Tensor, object(), make, make
        for name in ("float8_e4m3fn", "bfloat16", "float32", "float64"):
            setattr(torch, name, name)
        torch.cuda = types.SimpleNamespace(
            current_stream=lambda device: types.SimpleNamespace(cuda_stream=4919 + device.index))
        return torch

    sys.modules["torch"] = fake_torch()
    sys.path.append(os.environ["HADAL_TEST_FOLDER"])
    import hadal
    from torch import Tensor

    def on_gpu(array, dtype=None):
        device = types.SimpleNamespace(type="cuda", index=0)
        return Tensor(array, dtype if array.dtype == np.uint8 else str(array.dtype), device)

    def pair(m, kind, *arguments, rows=128, **keywords):
        scales = np.ones((m if m < 64 or rows == 1 else 1, 1), np.float32)
        return (kind(np.zeros((m, 128), np.uint8), *arguments, **keywords),
                kind(scales, *arguments, **keywords))

    def fails(sentence, a, b, **keywords):
        try:
            hadal.fp8_gemm_nt(a, b, **keywords)
        except ValueError as error:
            assert sentence in str(error), error
        else:
            raise AssertionError(sentence)

    def launches():
        function = ctypes.CDLL("libcuda.so.1").fake_cuda_launches
        function.restype = ctypes.c_char_p
        return function().decode()
"""


if __name__ == "__main__":
    unittest.main()
