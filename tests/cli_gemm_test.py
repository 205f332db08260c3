"""hadal gemm: check, explain and list, in every instruction set of this machine."""

import json

import cli


class Gemm(cli.CliTest):
    def test_check_finds_no_error(self):
        out = self.json("gemm", "check", "--filter", "groups", "--json")
        self.assertEqual(out["problems"], [])
        families = out["families"]
        self.assertGreater(families["groups"]["cases"], 10)
        self.assertLess(families["groups"]["calc_diff"], 5e-6)

    def test_check_in_other_instruction_sets(self):
        for isa in ("scalar", "avx2"):
            out = self.json("gemm", "check", "--filter", "strides", "--isa", isa, "--packed", "--json")
            self.assertEqual(out["families"]["strides"]["failed"], 0)

    def test_int8_mode(self):
        out = self.json("gemm", "check", "--int8", "--packed", "--filter", "groups", "--json")
        self.assertEqual(out["problems"], [])
        self.assertGreater(out["families"]["groups"]["calc_diff"], 1e-6)
        self.assertIn("of int8",
                      self.ok("gemm", "explain", "--int8", "-m", "8", "-n", "64", "-k", "128"))
        out = self.json("gemm", "bench", "--int8", "-m", "5", "-n", "136", "-k", "400",
                        "--repeats", "2", "--json")
        self.assertTrue(out["right"])
        self.fails(3, "--int8: on a GPU there is no such mode",
                   "gemm", "check", "--int8", "--device", "emulator")

    def test_explain(self):
        out = self.json("gemm", "explain", "-m", "128", "-n", "4096", "-k", "7168", "--json")
        self.assertEqual(out["flops"], 2 * 128 * 4096 * 7168)
        self.assertGreater(out["predicted_us"], 0)
        self.assertGreaterEqual(out["predicted_us"], out["limit_us"])
        text = self.ok("gemm", "explain", "-m", "128", "-n", "4096", "-k", "7168")
        self.assertIn("7.516 GFLOP", text)

    def test_list_shows_what_check_computes(self):
        names = self.ok("gemm", "list", "--filter", "SwiGLU").splitlines()
        out = self.json("gemm", "check", "--filter", "SwiGLU", "--json")
        self.assertEqual(out["families"]["SwiGLU"]["cases"], len(names))

    def test_check_on_the_emulated_gpu(self):
        out = self.json("gemm", "check", "--device", "emulator", "--filter", "groups", "--json")
        self.assertEqual(out["problems"], [])
        self.assertGreater(out["families"]["groups"]["cases"], 20)
        self.assertEqual(out["left_out"], 0)

    def test_explain_for_a_gpu(self):
        out = self.json("gemm", "explain", "--device", "emulator",
                        "-m", "4096", "-n", "7168", "-k", "16384", "--json")
        self.assertEqual(out["cluster"], 2)
        self.assertGreaterEqual(out["stages"], 3)
        self.assertGreater(out["predicted_us"], out["limit_us"])
        few = self.ok("gemm", "explain", "--device", "emulator",
                      "-m", "4", "-n", "7168", "-k", "2048")
        self.assertIn("operands exchanged", few)

    def test_bench_checks_its_answer(self):
        out = self.json("gemm", "bench", "-m", "5", "-n", "136", "-k", "400", "--repeats", "2",
                        "--json")
        self.assertTrue(out["right"])
        self.assertEqual(len(out["products"]), 1)
        self.assertGreater(out["products"][0]["time_us"], 0)
        self.fails(2, "-m, -n and -k are given together", "gemm", "bench", "-m", "5")
        self.fails(2, "--device: tpu is not one of cpu, emulator, gpu",
                   "gemm", "bench", "--device", "tpu")

    def test_mistakes(self):
        self.fails(2, "--device: tpu is not one of cpu, emulator, gpu",
                   "gemm", "check", "--device", "tpu")
        self.fails(2, "n is 9; it must be a multiple of 8",
                   "gemm", "explain", "-m", "1", "-n", "9", "-k", "1")
        self.fails(2, "--isa: ", "gemm", "check", "--isa", "avx1024")
        self.fails(2, "no case has nonsense in its name", "gemm", "check", "--filter", "nonsense")
        self.fails(2, "-m", "gemm", "explain", "-n", "8", "-k", "8")

    def test_the_demo_multiplies_a_text_of_ones_own(self):
        words = [("one", "two"), ("red", "blue"), ("cat", "dog")]
        text = "".join(f"{a[i % 2]} {b[i // 2 % 2]} {c[i // 4 % 2]}. "
                       for i in range(400) for a, b, c in [words])
        for content, least in ((text, 80.0), ("\0" * 600, 100.0)):
            out = json.loads(cli.hadal("demo", "--json", "--text", self.file("text", content),
                                       "--output", self.path("out")).stdout)
            row, = (row for row in out["rows"] if row["system"] == "gemm")
            self.assertTrue(row["check"], row)
            self.assertGreaterEqual(float(row["result"].split(" % right")[0]), least, row)


if __name__ == "__main__":
    cli.main()
