// The player: bars for SGD, a line for distributional dynamics, one frame at a time.
"use strict";

(() => {
  const SECONDS = 12; // of all frames, at speed 1
  const REACH = 3; // frames over which the top of the axes is evened out
  const MARGIN = { left: 56, right: 14, top: 14, bottom: 48 };

  function element(name, attributes = {}, text = "") {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text) made.textContent = text;
    return made;
  }

  // some five round numbers between low and high
  function ticks(low, high, count) {
    const rough = (high - low) / count;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
    const found = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) found.push(k * step);
    return found.map((value) => ({ value, text: String(Number(value.toPrecision(6))).replace("-", "−") }));
  }

  // the top of the axes for each frame: above its bars, and changing slowly
  function tops(film) {
    const need = film.sgd.map((bars, i) => {
      const bar = Math.max(...bars);
      const line = Math.max(...film.density[i]);
      return 1.1 * (line <= 1.6 * bar ? Math.max(bar, line) : bar) || 1; // narrower peaks are cut off
    });
    const around = (values, i) => values.slice(Math.max(0, i - REACH), i + REACH + 1);
    const highest = need.map((_, i) => Math.max(...around(need, i)));
    return highest.map((_, i) => {
      const near = around(highest, i);
      return Math.exp(near.reduce((sum, value) => sum + Math.log(value), 0) / near.length);
    });
  }

  function player(group, number) {
    const film = JSON.parse(document.getElementById(group.dataset.film).textContent);
    const [stage, play, scrub, readout, speed] = [".stage", ".play", ".scrub", ".readout", ".speed"].map((name) =>
      group.querySelector(name),
    );
    const count = film.times.length;
    const top = tops(film);
    const [low, high] = [film.bins[0], film.bins.at(-1)];
    let [frame, running, since, plot] = [0, false, 0, null];

    group.querySelector(".clipped").hidden = !film.density.some((line, i) => Math.max(...line) > top[i]);
    scrub.max = count - 1;

    function lay() {
      const width = Math.max(260, stage.clientWidth);
      const height = Math.round(Math.min(440, Math.max(230, 0.46 * width)));
      const right = width - MARGIN.right;
      const bottom = height - MARGIN.bottom;
      const x = (value) => MARGIN.left + ((value - low) / (high - low)) * (right - MARGIN.left);
      const svg = element("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img" });
      svg.setAttribute("aria-label", film.finding);
      const clip = element("clipPath", { id: `axes-${number}` });
      clip.append(
        element("rect", { x: MARGIN.left, y: MARGIN.top, width: right - MARGIN.left, height: bottom - MARGIN.top }),
      );
      const grid = element("g", { class: "grid" });
      const inside = element("g", { "clip-path": `url(#axes-${number})` });
      const bars = element("path", { class: "bars" });
      const line = element("path", { class: "line" });
      inside.append(bars, line);
      svg.append(clip, grid, inside);
      svg.append(element("path", { class: "axis", d: `M${MARGIN.left} ${MARGIN.top}V${bottom}H${right}` }));
      for (const { value, text } of ticks(low, high, width < 480 ? 4 : 8)) {
        svg.append(element("path", { class: "axis", d: `M${x(value)} ${bottom}v5` }));
        svg.append(element("text", { x: x(value), y: bottom + 19, "text-anchor": "middle" }, text));
      }
      const middle = (MARGIN.top + bottom) / 2;
      svg.append(
        element("text", { x: (MARGIN.left + right) / 2, y: height - 8, "text-anchor": "middle" }, film.xlabel),
        element(
          "text",
          { x: 14, y: middle, "text-anchor": "middle", transform: `rotate(-90 14 ${middle})` },
          film.ylabel,
        ),
      );
      stage.replaceChildren(svg);
      plot = { x, bottom, right, grid, bars, line };
      show();
    }

    function show() {
      const { x, bottom, right, grid, bars, line } = plot;
      const y = (value) => bottom - (value / top[frame]) * (bottom - MARGIN.top);
      const at = (value) => value.toFixed(1);
      grid.replaceChildren();
      for (const { value, text } of ticks(0, top[frame], 5)) {
        grid.append(element("path", { d: `M${MARGIN.left} ${at(y(value))}H${right}` }));
        grid.append(element("text", { x: MARGIN.left - 8, y: at(y(value) + 4), "text-anchor": "end" }, text));
      }
      bars.setAttribute(
        "d",
        film.sgd[frame]
          .map((height, i) =>
            height > 0
              ? `M${at(x(film.bins[i]))} ${bottom}V${at(y(height))}H${at(x(film.bins[i + 1]))}V${bottom}Z`
              : "",
          )
          .join(""),
      );
      const far = -10 * bottom; // of a peak beyond the axes
      line.setAttribute(
        "d",
        film.r
          .map((r, i) => `${i ? "L" : "M"}${at(x(r))} ${at(Math.max(far, y(film.density[frame][i])))}`)
          .join(""),
      );
      const time = `${film.label} = ${Number(film.times[frame].toPrecision(3))}`;
      scrub.value = frame;
      scrub.setAttribute("aria-valuetext", time);
      readout.textContent = time;
    }

    function go(to) {
      frame = Math.min(count - 1, Math.max(0, to));
      show();
    }

    function run(on) {
      running = on && count > 1;
      play.textContent = running ? "Pause" : "Play";
      if (!running) return;
      if (frame === count - 1) go(0);
      since = performance.now();
      requestAnimationFrame(tick);
    }

    function tick(now) {
      if (!running) return;
      const pace = (Number(speed.value) * count) / SECONDS / 1000; // frames a millisecond
      const steps = Math.floor((now - since) * pace);
      if (steps > 0) {
        since += steps / pace;
        go(frame + steps);
      }
      if (frame === count - 1) run(false);
      else requestAnimationFrame(tick);
    }

    play.addEventListener("click", () => run(!running));
    scrub.addEventListener("input", () => {
      run(false);
      go(Number(scrub.value));
    });
    group.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, Home: -count, End: count };
      if (event.target === speed || event.altKey || event.ctrlKey || event.metaKey) return;
      if (event.key === " " && event.target !== play) run(!running); // the button does so by itself
      else if (event.key in steps) {
        run(false);
        go(frame + steps[event.key]);
      } else return;
      event.preventDefault();
    });
    new ResizeObserver(lay).observe(stage);
    lay();
  }

  document.querySelectorAll(".player").forEach(player);
})();
