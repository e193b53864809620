/**
 * What we use of buffer-layout 1.2, which ships no types. Its buffers are Node Buffers (they have
 * readUIntBE, …).
 */
declare module 'buffer-layout' {
  export interface Layout {
    readonly span: number;
    readonly property: string | undefined;
  }
  export interface Structure extends Layout {
    readonly fields: readonly Layout[];
    decode(buffer: Uint8Array, offset?: number): Record<string, number>;
    encode(source: Record<string, number>, buffer: Uint8Array, offset?: number): number;
    offsetOf(property: string): number | undefined;
  }
  export function struct(fields: readonly Layout[], property?: string): Structure;
  export function u8(property: string): Layout;
  export function u16(property: string): Layout;
  export function u16be(property: string): Layout;
  export function u32be(property: string): Layout;
}
