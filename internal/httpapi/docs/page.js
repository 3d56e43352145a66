"use strict";

// Everything is on the page already; this adds a filter, copy buttons, this
// server's own address in the examples, and a mark where the reader is.

const filter = document.getElementById("filter");
filter.hidden = false;
filter.addEventListener("input", () => {
  const wanted = filter.value.trim().toLowerCase();
  for (const item of document.querySelectorAll("nav li")) {
    item.hidden = !item.textContent.toLowerCase().includes(wanted);
  }
  for (const title of document.querySelectorAll("nav h2")) {
    title.hidden = !title.nextElementSibling.querySelector("li:not([hidden])");
  }
});

for (const figure of document.querySelectorAll("figure")) {
  const code = figure.querySelector("code");
  code.textContent = code.textContent.replace("http://127.0.0.1:8080", location.origin);
  if (!navigator.clipboard) { // browsers give it to https and loopback only
    continue;
  }
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  figure.append(button);
}

const links = new Map();
for (const link of document.querySelectorAll("nav li a")) {
  links.set(link.hash.slice(1), link);
}
const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (entry.isIntersecting) {
      document.querySelector("nav .here")?.classList.remove("here");
      links.get(entry.target.id)?.classList.add("here");
    }
  }
}, { rootMargin: "0px 0px -80% 0px" });
for (const article of document.querySelectorAll("article")) {
  seen.observe(article);
}
