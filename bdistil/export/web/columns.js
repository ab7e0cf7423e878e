// A table's columns as features, encoded as in training, and the fields of a form that ask for them.

const PARTS = {
  year: (time) => time.getUTCFullYear(),
  month: (time) => time.getUTCMonth() + 1,
  day: (time) => time.getUTCDate(),
  weekday: (time) => (time.getUTCDay() + 6) % 7, // a week begins with Monday, 0
  hour: (time) => time.getUTCHours(),
  minute: (time) => time.getUTCMinutes(),
  second: (time) => time.getUTCSeconds(),
};

const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i; // as files have them: no blank, no 0x10

// Features of one value as text; an empty one is missing, and an unknown category is all zeros.
export function encode(column, text) {
  const { name, categories, parts, missing, fill } = column;
  if (text === "" && !missing) throw new Error(`${name} is empty, which training never saw.`);
  const flag = missing ? [Number(text === "")] : [];
  if (categories) return [...categories.map((known) => Number(known === text && text !== "")), ...flag];
  if (text === "") return [...fill, ...flag];
  if (parts) {
    const time = new Date(/[T ]/.test(text) ? `${text}Z` : text);
    if (Number.isNaN(time.getTime())) throw new Error(`${name} is no date.`);
    return [...parts.map((part) => PARTS[part](time)), ...flag];
  }
  const number = NUMBER.test(text.trim()) ? Number(text) : NaN;
  if (!Number.isFinite(number)) throw new Error(`${name} is no number.`);
  return [number, ...flag];
}

// The form field of one column.
export function field(column) {
  const { name, categories, parts } = column;
  const input = document.createElement(categories ? "select" : "input");
  if (categories) for (const known of ["", ...categories]) input.add(new Option(known || "(none)", known));
  else input.type = parts ? "datetime-local" : "text";
  if (categories) input.value = column.missing ? "" : categories[0];
  else if (!column.missing) input.value = parts ? "2026-01-01T00:00" : "0";
  const label = document.createElement("label");
  label.append(name, " ", input);
  return { label, read: () => encode(column, input.value) };
}
