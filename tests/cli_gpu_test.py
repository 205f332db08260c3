"""hadal gpu info, compile, warm and cache, on machines with and without NVRTC and a driver."""

import json
import os
import unittest

import cli
from cli import CliTest, hadal

KERNEL = """
extern "C" __global__ void __launch_bounds__(256) scale(float* p, float factor) {
  __shared__ float tile[256];
  tile[threadIdx.x] = p[threadIdx.x];
  __syncthreads();
  p[threadIdx.x] = tile[255 - threadIdx.x] * factor;
}
"""


class Gpu(CliTest):
    def setUp(self):
        super().setUp()
        self.cache = self.path("cache")
        self.env = {**os.environ, "HADAL_GPU_CACHE": self.cache}

    def gpu(self, *arguments, code=0):
        return self.ok("gpu", *arguments, code=code, env=self.env)

    def gpu_json(self, *arguments, code=0):
        return json.loads(self.gpu(*arguments, "--json", code=code))

    def need_nvrtc(self):
        if error := self.gpu_json("info")["nvrtc"]["error"]:
            self.skipTest(error)

    def entry(self, name, content):
        os.makedirs(self.cache, exist_ok=True)
        with open(os.path.join(self.cache, name), "wb") as f:
            f.write(content)


class Info(Gpu):
    def test_says_what_is_there_and_what_is_missing(self):
        out = self.gpu_json("info")
        self.assertEqual(list(out), ["architecture", "driver", "nvrtc", "devices", "cache"])
        self.assertEqual(out["architecture"], "sm_90a")
        self.assertEqual(out["cache"]["path"], self.cache)
        self.assertEqual((out["cache"]["entries"], out["cache"]["error"]), (0, None))
        text = self.gpu("info")
        for key in ("driver", "nvrtc"):
            self.assertEqual(out[key]["version"] is None, out[key]["error"] is not None)
            if out[key]["error"]:
                self.assertIn(f"{key:<8} missing: {out[key]['error']}", text)
        if out["driver"]["error"]:
            self.assertEqual(out["devices"], [])
        for device in out["devices"]:
            self.assertIn(device["name"], text)

    def test_a_library_path_that_is_wrong_is_named(self):
        broken = self.file("libnvrtc.so.13", "not a library")
        out = json.loads(self.ok("gpu", "info", "--json",
                                 env={**self.env, "LD_LIBRARY_PATH": self.directory}))
        error = out["nvrtc"]["error"]
        if error:  # else another one was found behind it
            self.assertIn(broken, error)

    def test_without_a_place_for_the_cache(self):
        out = json.loads(self.ok("gpu", "info", "--json", env={"PATH": os.environ["PATH"]}))
        self.assertEqual(out["cache"]["error"],
                         "none of HADAL_GPU_CACHE, XDG_CACHE_HOME and HOME is set")

    def test_doctor_says_the_same(self):
        out, doctor = self.gpu_json("info"), self.json("doctor", "--json", env=self.env)
        self.assertEqual(doctor["probes"]["nvrtc"]["ok"], out["nvrtc"]["error"] is None)
        self.assertEqual(doctor["probes"]["gpu"]["ok"], out["devices"] != [])


class Compile(Gpu):
    def test_prints_registers_and_writes_the_cubin(self):
        self.need_nvrtc()
        source, cubin = self.file("scale.cu", KERNEL), self.path("scale.cubin")
        text = self.gpu("compile", source, "-o", cubin)
        self.assertRegex(text, r"scale\.cu: \d+ bytes for sm_90a, by NVRTC \d+\.\d+ in \d+ ms\n")
        self.assertRegex(text, r"\nscale +\d+ +0 +0 +1024 +1\n")
        with open(cubin, "rb") as f:
            content = f.read()
        self.assertTrue(content.startswith(b"\x7fELF"))
        out = self.gpu_json("compile", source)
        self.assertEqual(out["ok"], True)
        self.assertEqual(out["cubin_bytes"], len(content))
        self.assertEqual([entry["name"] for entry in out["entries"]], ["scale"])
        self.assertEqual(out["entries"][0]["shared_bytes"], 1024)
        self.assertEqual(out["notes"], [])

    def test_reads_standard_input(self):
        self.need_nvrtc()
        done = hadal("gpu", "compile", "-", "--json", stdin=KERNEL.encode(), env=self.env)
        self.assertEqual(json.loads(done.stdout)["entries"][0]["name"], "scale")

    def test_what_does_not_compile_is_one(self):
        self.need_nvrtc()
        source = self.file("bad.cu", "__global__ void f() { absent(); }\n")
        text = self.gpu("compile", source, "-o", self.path("bad.cubin"), code=1)
        self.assertIn('bad.cu(1): error: identifier "absent" is undefined', text)
        self.assertIn("bad.cu does not compile", text)
        self.assertFalse(os.path.exists(self.path("bad.cubin")))
        out = self.gpu_json("compile", source, code=1)
        self.assertEqual(out["ok"], False)
        self.assertIn("absent", out["log"])

    def test_a_missing_file_is_two(self):
        self.fails(2, "cannot read /nowhere.cu", "gpu", "compile", "/nowhere.cu", env=self.env)


class Warm(Gpu):
    def test_every_kernel_of_the_catalog_is_good(self):
        """Where NVRTC is installed: all compile, none spills, none lost its overlap."""
        out = self.gpu_json("warm") if not self.gpu_json("info")["nvrtc"]["error"] else None
        if out is None:
            self.skipTest("NVRTC is not installed")
        for kernel in out["kernels"]:
            with self.subTest(kernel["name"]):
                self.assertEqual(kernel["state"], "compiled")
                self.assertEqual(kernel["notes"], [])
                for entry in kernel["entries"]:
                    self.assertEqual(entry["spill_store_bytes"] + entry["spill_load_bytes"], 0)
        names = [kernel["name"] for kernel in out["kernels"]]
        self.assertEqual(names, sorted(set(names)))
        self.assertEqual(self.gpu_json("info")["cache"]["entries"], len(names))
        for kernel in self.gpu_json("warm")["kernels"]:
            self.assertEqual(kernel["state"], "cached")

    def test_an_empty_catalog_is_said(self):
        if self.gpu_json("info")["nvrtc"]["error"] or self.gpu_json("warm")["kernels"]:
            self.skipTest("the catalog has kernels, or they cannot be compiled here")
        self.assertEqual(self.gpu("warm"),
                         "the catalog has no kernels: there is nothing to compile\n")


class Cache(Gpu):
    def test_an_empty_cache(self):
        self.assertEqual(self.gpu("cache"), f"{self.cache}: 0 kernels, 0 B of 1024 MiB, 0 damaged\n")
        self.assertEqual(self.gpu_json("cache", "--verify")["entries"], [])
        self.assertEqual(self.gpu("cache", "--clear"), f"{self.cache}: 0 kernels removed\n")
        self.assertFalse(os.path.exists(self.cache), "looking makes nothing")

    def test_damaged_entries_are_shown_and_removed(self):
        self.entry("junk.cubin", b"junk")
        text = self.gpu("cache", "--verify", code=1)
        self.assertIn("damaged: junk.cubin: 4 bytes are too few for a compiled kernel", text)
        self.assertIn("1 kernel, 4 B of 1024 MiB, 1 damaged", text)
        out = self.gpu_json("cache")
        self.assertEqual(out["defects"], 1)
        self.assertEqual(out["entries"][0]["file"], "junk.cubin")
        self.assertIn("too few", out["entries"][0]["defect"])
        self.assertEqual(self.gpu_json("cache", "--clear"), {"path": self.cache, "removed": 1})
        self.assertEqual(self.gpu_json("cache", "--verify")["entries"], [])

    def test_two_wishes_at_once_are_refused(self):
        self.fails(2, "--clear and --verify are both given; one may be", "gpu", "cache", "--clear",
                   "--verify", env=self.env)

    def test_a_folder_that_cannot_be_read(self):
        self.file("cache", "a file")
        self.fails(3, f"cannot read {self.cache}: Not a directory", "gpu", "cache", env=self.env)


if __name__ == "__main__":
    cli.main()
