/** Pictures that were fetched with a token, shown as blob: URLs. Each URL holds its picture in memory until revoked. */
export class Pictures {
  private urls: string[] = [];
  private generation = 0;

  /** Shows the picture when it comes; one that does not leaves the text in its place. */
  async show(image: HTMLImageElement, picture: Promise<Blob>): Promise<void> {
    const { generation } = this;
    const blob = await picture.catch(() => null);
    if (!blob || generation !== this.generation) return;
    const url = URL.createObjectURL(blob);
    this.urls.push(url);
    image.src = url;
  }

  /** The pictures so far are shown no longer, and those on their way will not be. */
  clear(): void {
    this.generation += 1;
    for (const url of this.urls.splice(0)) URL.revokeObjectURL(url);
  }
}
