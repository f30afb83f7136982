// Colours, folding and boxes that scroll; every page reads without it.
"use strict";

(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");

  function remembered() {
    try {
      return localStorage.getItem("theme");
    } catch {
      return null; // a browser that keeps nothing for pages from disk
    }
  }

  function remember(theme) {
    try {
      localStorage.setItem("theme", theme);
    } catch {
      // then the choice lasts for this page
    }
  }

  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);

  function choose() {
    const theme = remembered();
    if (["light", "dark"].includes(theme)) root.dataset.theme = theme;
  }

  // before the page is painted
  root.classList.add("scripted");
  choose();

  function theme() {
    const button = document.querySelector("button.theme");
    const label = () => {
      button.querySelector(".word").textContent = dark() ? "Light" : "Dark";
      button.setAttribute("aria-label", dark() ? "Use light colours" : "Use dark colours");
    };
    button.addEventListener("click", () => {
      root.dataset.theme = dark() ? "light" : "dark";
      remember(root.dataset.theme);
      label();
    });
    system.addEventListener("change", label);
    // chosen in another tab, or before this page was come back to
    for (const event of ["storage", "pageshow"]) {
      addEventListener(event, () => {
        choose();
        label();
      });
    }
    label();
    button.hidden = false;
  }

  function folding() {
    for (const button of document.querySelectorAll("button.all")) {
      const steps = [...document.querySelectorAll(`#${button.dataset.steps} details`)];
      const label = () => {
        const open = steps.every((step) => step.open);
        button.textContent = open ? "Close all steps" : `Open all ${steps.length} steps`;
        return open;
      };
      button.addEventListener("click", () => {
        const open = label();
        for (const step of steps) step.open = !open;
        label();
      });
      for (const step of steps) step.addEventListener("toggle", label);
      button.hidden = false;
    }
    let opened = [];
    addEventListener("beforeprint", () => {
      opened = [...document.querySelectorAll(".steps details:not([open])")];
      for (const step of opened) step.open = true;
    });
    addEventListener("afterprint", () => {
      for (const step of opened) step.open = false;
    });
    const menu = document.querySelector("details.menu");
    document.addEventListener("click", (event) => {
      if (!menu.contains(event.target)) menu.open = false;
    });
    menu.addEventListener("focusout", (event) => {
      // to nowhere at all: the window lost it, or a click that is seen above
      if (event.relatedTarget && !menu.contains(event.relatedTarget)) menu.open = false;
    });
    menu.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      menu.open = false;
      menu.querySelector("summary").focus();
    });
  }

  // a box that scrolls has to be reached by the keyboard, one that does not need not
  function boxes() {
    const every = document.querySelectorAll(".wide, .paper, .formula, pre");
    const kind = (box) => (box.matches("pre") ? "Code" : box.matches(".formula") ? "Formula" : "Table");
    const name = (box) => {
      if (box.dataset.label) return box.dataset.label;
      const around = box.querySelector("caption") ?? box.closest("details")?.querySelector("summary");
      return around ? `${kind(box)}: ${around.textContent.trim().replace(/\s+/g, " ")}` : kind(box);
    };
    const look = () => {
      for (const box of every) {
        const scrolls = box.scrollWidth > box.clientWidth + 1 || box.scrollHeight > box.clientHeight + 1;
        if (scrolls) {
          for (const [key, value] of [["tabindex", 0], ["role", "region"], ["aria-label", name(box)]]) {
            box.setAttribute(key, value);
          }
        } else for (const key of ["tabindex", "role", "aria-label"]) box.removeAttribute(key);
      }
    };
    look();
    addEventListener("resize", look);
    document.addEventListener("toggle", look, true);
  }

  addEventListener("DOMContentLoaded", () => {
    theme();
    folding();
    boxes();
  });
})();
