// What script adds to pages that work without it: a list is filtered while its filter is typed,
// texts are copied, and work that is under way is shown as it goes.
"use strict";

// A field with data-replaces shows what its form would lead to in the element that it names.
for (const field of document.querySelectorAll("[data-replaces]")) {
  let waiting, latest = 0;
  field.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(async () => {
      const mine = ++latest;
      const address = new URL(field.form.action);
      address.search = new URLSearchParams(new FormData(field.form));
      const answer = await fetch(address, { credentials: "same-origin" }).catch(() => null);
      if (!answer?.ok || mine !== latest) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const part = page.querySelector(field.dataset.replaces);
      if (part && mine === latest) {
        document.querySelector(field.dataset.replaces).replaceChildren(...part.childNodes);
        history.replaceState(null, "", address);
      }
    }, 200);
  });
}

// A form is sent once: a second click, while the first is under way, would do it twice.
for (const form of document.querySelectorAll("form[method=post]")) {
  let sent = -Infinity;
  form.addEventListener("submit", (event) => {
    if (event.timeStamp - sent < 3000) event.preventDefault();
    else sent = event.timeStamp;
  });
  addEventListener("pageshow", () => { sent = -Infinity; });
}

// A button with data-copies copies the text of the element that it names, and says so.
for (const button of document.querySelectorAll("button[data-copies]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const source = document.querySelector(button.dataset.copies);
    const said = button.parentElement.querySelector("[role=status]");
    try {
      await navigator.clipboard.writeText(source.textContent);
      said.textContent = "Copied.";
    } catch {
      // Not allowed here: it is selected, to be copied by hand.
      getSelection().selectAllChildren(source);
      said.textContent = "Selected: copy it with your keyboard.";
    }
  });
}

// Whether something was typed that would be gone with the page.
function typed() {
  return [...document.querySelectorAll("main input, main textarea")].some(
    (field) => field.type === "checkbox" ? field.checked !== field.defaultChecked : field.value !== field.defaultValue);
}

// Work that is under way is shown as it goes; of its end the page itself tells. Readers of screens hear of it now and then.
for (const job of document.querySelectorAll("[data-job]")) {
  const bar = job.querySelector("progress"), told = job.querySelector("[role=status]");
  let said = Date.now();
  const timer = setInterval(async () => {
    const answer = await fetch(job.dataset.job, { credentials: "same-origin" }).catch(() => null);
    if (!answer) return;
    const now = answer.ok ? await answer.json() : { running: false };
    if (!now.running) {
      clearInterval(timer);
      if (typed()) {
        told.textContent = "This has ended. Reload the page to see what came of it.";
        return;
      }
      location.assign(job.dataset.page);
      return;
    }
    if (now.total) {
      bar.max = now.total;
      bar.value = now.seen;
    }
    if (Date.now() - said >= 3000) {
      said = Date.now();
      told.textContent = now.text;
    }
  }, 500);
}
