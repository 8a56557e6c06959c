// Buttons to choose by; of a curve above them a click on the drawing chooses the nearest one.
element.addEventListener('click', event => {
  const buttons = [...element.querySelectorAll('button[data-choice]')];
  const svg = event.target.closest('svg');
  let button = event.target.closest('button[data-choice]');
  if (svg) {
    const x = new DOMPoint(event.clientX, 0).matrixTransform(svg.getScreenCTM().inverse()).x;
    const away = [...svg.querySelector('polyline').points].map(point => Math.abs(point.x - x));
    button = buttons[away.indexOf(Math.min(...away))];
  }
  if (!button) return;
  buttons.forEach(one => one.setAttribute('aria-pressed', String(one === button)));
  trigger('click', {choice: Number(button.dataset.choice)});
});
