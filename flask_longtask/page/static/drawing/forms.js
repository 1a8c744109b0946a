// Forms: reads the request that a form would send, and shows the errors of a start beside the field or at the end of
// the form. page.js sends the request.

import { element } from './elements.js';

export function readForm(form, submitter) {
  // Attributes, not properties: a field named "action" would hide the property.
  const attribute = (name) => submitter?.getAttribute(`form${name}`) ?? form.getAttribute(name) ?? '';
  const data = new FormData(form, submitter);
  const counter = form.querySelector('[data-longtask-count]');
  if (counter) data.delete(counter.name);
  return {
    url: new URL(attribute('action'), location),
    body: attribute('enctype') === 'multipart/form-data' ? data : new URLSearchParams(data),
    count: Number(counter?.value) || 1,
  };
}

export function clearErrors(form) {
  for (const field of form.querySelectorAll('[aria-invalid]')) {
    field.removeAttribute('aria-invalid');
    field.removeAttribute('aria-describedby');
  }
  for (const message of form.querySelectorAll('.longtask-error')) message.remove();
}

/** Removes the errors of an outage that is over. */
export function clearPassedErrors() {
  for (const message of document.querySelectorAll('.longtask-error[data-passes]')) message.remove();
}

/** Shows an error. `passes`: it comes from an outage, not from the values in the form, and goes with the outage. */
export function showError(form, sentence, fieldName, passes) {
  const message = element('p', 'longtask-error', sentence);
  message.role = 'alert';
  message.toggleAttribute('data-passes', passes);
  const field = fieldName && form.querySelector(`[name="${CSS.escape(fieldName)}"]:not([type="hidden"])`);
  if (!field) return form.append(message);
  message.id = `longtask-error-${crypto.getRandomValues(new Uint32Array(1))[0]}`;
  const folded = field.closest('details');
  if (folded) folded.open = true;
  (field.closest('label') ?? field).after(message);
  field.setAttribute('aria-invalid', 'true');
  field.setAttribute('aria-describedby', message.id);
  field.focus();
}
