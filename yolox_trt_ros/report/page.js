// Two conveniences; the page is complete without them.
const tip = document.getElementById('tip');
document.addEventListener('pointermove', show);
document.addEventListener('pointerdown', show);
document.addEventListener('scroll', () => { tip.style.display = 'none'; }, true);
function show(event) {
  const text = event.target.dataset && event.target.dataset.t;
  tip.style.display = text ? 'block' : 'none';
  if (!text) return;
  tip.textContent = text;
  const left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
  const above = event.clientY - tip.offsetHeight - 14;
  tip.style.left = Math.max(8, left) + 'px';
  tip.style.top = (above > 8 ? above : event.clientY + 18) + 'px';
}
const rule = document.head.appendChild(document.createElement('style'));
for (const button of document.querySelectorAll('nav button')) {
  button.addEventListener('click', () => {
    const on = button.getAttribute('aria-pressed') !== 'true';
    document.querySelectorAll('nav button').forEach((b) => b.setAttribute('aria-pressed', 'false'));
    button.setAttribute('aria-pressed', String(on));
    const key = CSS.escape(button.dataset.camera);
    rule.textContent = on ? `[data-k]:not([data-k="${key}"]) { opacity: .1 }` : '';
  });
}
