#!/usr/bin/env python3
"""Tables of kernels_bench's JSON: of each type and each kernel what it gets through and its share of the machine, best of
the repetitions.

usage: kernels_bench --benchmark_repetitions=3 --benchmark_format=json >k.json; roofline.py k.json...
Several files (of parts of the suite, by --benchmark_filter) make one table; of their probes the highest figures count.
"""
import json
import sys


def load(paths):
    """Context, threads in order, and {name: {threads: counters}} with the highest of each counter."""
    context, threads, found = {}, [], {}
    for path in paths:
        with open(path) as file:
            result = json.load(file)
        for key, value in result["context"].items():
            context[key] = max(float(value), context.get(key, 0)) if "/threads:" in key else value
        for run in result["benchmarks"]:
            if run.get("run_type") == "aggregate":
                continue
            name, count = run["name"].removesuffix("/manual_time").split("/threads:")
            count = int(count.split("/")[0])
            threads += [count] if count not in threads else []
            best = found.setdefault(name, {}).setdefault(count, {})
            best["peak"] = run.get("label", "")
            for key in ("TOPS", "TFLOPS", "GB/s", "items_per_second"):
                if key in run:
                    best[key] = max(best.get(key, 0), run[key])
    for counts in found.values():
        for count, best in counts.items():
            if best["peak"]:  # the label: which of the probe's figures is the limit; only such are bound by memory
                best["of_peak"] = best.get("TOPS", best.get("TFLOPS")) / context[f"{best['peak']}/threads:{count}"]
                if "GB/s" in best:
                    best["of_bandwidth"] = best["GB/s"] / context[f"read_gb_per_second/threads:{count}"]
    return context, sorted(threads), found


def cell(counters, key, digits):
    return f"{counters[key]:.{digits}f}" if key in counters else ""


def share(counters, key):
    return f"{counters[key]:.0%}" if key in counters else ""


def row(name, cells):
    print("| " + " | ".join([name, *cells]) + " |")


def header(first, columns):
    row(first, columns)
    print("|---|" + "---:|" * len(columns))


def main():
    context, threads, found = load(sys.argv[1:])
    words = {n: f"{n} thread{'s' if n > 1 else ''}" for n in threads}
    print(f"Kernels: {context['target']}. The machine: " + "; ".join(
        f"{words[n]}: {context[f'read_gb_per_second/threads:{n}']} GB/s, int8 {context[f'int8_tops/threads:{n}']} TOPS, "
        f"BF16 {context[f'bf16_tflops/threads:{n}']}, F32 {context[f'f32_tflops/threads:{n}']} TFLOPS" for n in threads))
    print()
    header("type", [f"{part}, {words[n]}" for n in threads
                    for part in ("prompt TOPS", "of peak", "generation GB/s", "of bandwidth")])
    for name in found:
        if not name.startswith("product/") or not name.endswith("/prompt"):
            continue
        cells = []
        for n in threads:
            prompt = found[name].get(n, {})
            generate = found.get(name.replace("/prompt", "/generate"), {}).get(n, {})
            cells += [cell(prompt, "TOPS" if "TOPS" in prompt else "TFLOPS", 3), share(prompt, "of_peak"),
                      cell(generate, "GB/s", 1), share(generate, "of_bandwidth")]
        row(name.split("/")[1], cells)
    print()
    header("kernel", [f"{part}, {words[n]}" for n in threads
                      for part in ("1000 tokens/s", "GB/s", "of bandwidth", "TFLOPS", "of peak")])
    for name, counts in found.items():
        if name.startswith("product/"):
            continue
        cells = []
        for n in threads:
            c = counts.get(n, {})
            cells += [f"{c['items_per_second'] / 1000:.4g}" if c else "", cell(c, "GB/s", 1), share(c, "of_bandwidth"),
                      cell(c, "TFLOPS", 3), share(c, "of_peak")]
        row(name, cells)


main()
