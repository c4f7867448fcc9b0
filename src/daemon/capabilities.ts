/**
 * Answer to --print-capabilities, docs/interop/vhost-user.json: the features enum of a block
 * back-end knows these two words and no others.
 */
export const CAPABILITIES = JSON.stringify({ type: 'block', features: ['read-only', 'blk-file'] });
