// Words: names of fields as people write them.
// It must not know what the fields hold.

/** "total_amount" and "totalAmount": "Total amount". */
export function worded(name: string): string {
  const words = name
    .replace(/([a-z\d])([A-Z])/g, "$1 $2")
    .replace(/[_-]+/g, " ")
    .trim();
  const plain = /[A-Z]{2}|\d/.test(words) ? words : words.toLowerCase();
  return plain ? plain[0]?.toUpperCase() + plain.slice(1) : name;
}
